"""What a worker loads: ``dramatiq dramatiq_worker``."""

import os

import dramatiq
from dramatiq_actors import make_broker  # type: ignore[import-not-found]

from hl_sessions.integrations.dramatiq import SessionMiddleware

dramatiq.set_broker(make_broker(os.environ["REDIS_URL"], SessionMiddleware()))
