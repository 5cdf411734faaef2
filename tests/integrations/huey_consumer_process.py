"""A consumer that executes tasks in a process of its own, one of which ends it."""

import os
from contextlib import suppress

from huey.consumer import ConsumerStopped
from huey_tasks import make_huey  # type: ignore[import-not-found]

from hl_sessions import SessionManager

huey = make_huey(os.environ["REDIS_URL"])
consumer = huey.create_consumer(workers=1, worker_type="process", periodic=False)
consumer.start()
with SessionManager() as manager, manager.session():
    huey.tasks["log_and_end"]()
with suppress(ConsumerStopped):
    while True:
        consumer.loop()
