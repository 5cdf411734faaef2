"""Conversations of many machines, in Redis or Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hl_sessions.errors import ConfigurationError
from hl_sessions.stores.base import Conversation, ConversationStore

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise ImportError(
        "hl_sessions.stores.RedisStore needs redis-py: pip install 'hl-sessions[redis]'"
    ) from error

if TYPE_CHECKING:
    from redis.commands.core import Script

__all__ = ["RedisStore"]

TIMEOUT = 1.0  # seconds for a connection, and for an answer
_PREFIX = "hl-sessions:"

# A conversation is one hash: s(ession ID), p(revious ID), u(sed last, in seconds), e(nded), c(laimant),
# l(ease's end, in seconds). One key for each script, so that a cluster knows where to run it.
_NOW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
"""
_IS_GOING_ON = """
local function is_going_on(max_idle)
    local entry = redis.call('HMGET', KEYS[1], 's', 'p', 'u', 'e')
    local is_over = not entry[1] or entry[4] or (max_idle ~= '' and now - entry[3] > tonumber(max_idle))
    return not is_over, entry
end
"""
_GET = (
    _NOW
    + _IS_GOING_ON
    + """
local goes_on, entry = is_going_on(ARGV[1])
return goes_on and {entry[1], entry[2]}
"""
)
_CLAIM = (
    _NOW
    + _IS_GOING_ON
    + """
local claimant, lease, max_idle = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local claim_ends = redis.call('HGET', KEYS[1], 'l')
local goes_on, entry = is_going_on(max_idle)
if goes_on or (claim_ends and now < tonumber(claim_ends)) then return 0 end
redis.call('HSET', KEYS[1], 'c', claimant, 'l', string.format('%.6f', now + lease))
if not entry[1] then redis.call('EXPIRE', KEYS[1], math.ceil(lease) + 60) end
return 1
"""
)
_SAVE = (
    _NOW
    + """
if redis.call('HGET', KEYS[1], 'c') ~= ARGV[1] then return false end
local previous = redis.call('HGET', KEYS[1], 's')
redis.call('HDEL', KEYS[1], 'c', 'l', 'e', 'p')
redis.call('HSET', KEYS[1], 's', ARGV[2], 'u', string.format('%.6f', now))
if previous then redis.call('HSET', KEYS[1], 'p', previous) end
redis.call('PERSIST', KEYS[1])
return {ARGV[2], previous}
"""
)
_RELEASE = """
if redis.call('HGET', KEYS[1], 'c') == ARGV[1] then redis.call('HDEL', KEYS[1], 'c', 'l') end
"""
_TOUCH = (
    _NOW
    + """
local entry = redis.call('HMGET', KEYS[1], 's', 'e')
if entry[1] == ARGV[1] and not entry[2] then
    redis.call('HSET', KEYS[1], 'u', string.format('%.6f', now))
end
"""
)
_END = """
redis.call('HDEL', KEYS[1], 'c', 'l')
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'e', 1) end
"""


class RedisStore(ConversationStore):
    """Keeps conversations in Redis or Valkey, for all processes of many machines.

    The clock is the server's. A conversation is kept until the server drops it: give the database a
    ``maxmemory-policy`` where it may grow too large.

    Args:
        url: of the database, like ``redis://:password@host:6379/0``, with any option of redis-py as a query;
            or a client, a ``redis.Redis`` or a ``redis.RedisCluster``, which stays yours to close.
        namespace: keeps the conversations of applications apart that share the database.
        hash_keys: give the database the SHA-256 hash of a key only.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(
        self,
        url: str | redis.Redis | redis.RedisCluster,
        *,
        namespace: str = "",
        hash_keys: bool = False,
    ) -> None:
        super().__init__(namespace=namespace, hash_keys=hash_keys)
        self._owns_client = isinstance(url, str)
        # Any: redis-py's types speak of asynchronous clients, too.
        self._client: Any = _client(url) if isinstance(url, str) else url
        if not isinstance(self._client, (redis.Redis, redis.RedisCluster)):
            raise ConfigurationError(
                f"url must be a str, a redis.Redis or a redis.RedisCluster, not {type(url).__name__}"
            )
        scripts = (_GET, _CLAIM, _SAVE, _RELEASE, _TOUCH, _END)
        self._get, self._claim, self._save, self._release, self._touch, self._end = map(self._script, scripts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self._client).__name__})"  # a URL may hold a password

    def _script(self, text: str) -> Script:
        return cast("Script", self._client.register_script(text))

    def get(self, key: str, *, max_idle: float | None) -> Conversation | None:  # noqa: D102 - the contract's
        name = _PREFIX + key
        if max_idle is None:
            session_id, previous_id, is_ended = self._client.hmget(name, "s", "p", "e")
            is_going_on = session_id is not None and is_ended is None
            return _conversation([session_id, previous_id]) if is_going_on else None
        return _conversation(self._get(keys=[name], args=[max_idle]))

    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> bool:  # noqa: D102
        return bool(
            self._claim(keys=[_PREFIX + key], args=[claimant, lease, "" if max_idle is None else max_idle])
        )

    def save(self, key: str, claimant: str, session_id: str) -> Conversation | None:  # noqa: D102
        return _conversation(self._save(keys=[_PREFIX + key], args=[claimant, session_id]))

    def release(self, key: str, claimant: str) -> None:  # noqa: D102
        self._release(keys=[_PREFIX + key], args=[claimant])

    def touch(self, key: str, session_id: str) -> None:  # noqa: D102
        self._touch(keys=[_PREFIX + key], args=[session_id])

    def end(self, key: str) -> None:  # noqa: D102
        self._end(keys=[_PREFIX + key])

    def close(self) -> None:
        """Close the connections, unless the client was given; a later call opens new ones."""
        if self._owns_client:
            self._client.close()


def _client(url: str) -> redis.Redis:
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 1),  # once more, as the server may have closed a connection meanwhile
        )
    except (ValueError, TypeError) as error:
        text = str(error) if "@" not in str(error) else "it cannot be parsed"  # nothing that holds a password
        raise ConfigurationError(f"url is not a Redis URL: {text}") from None


def _conversation(answer: list[bytes | str | None] | None) -> Conversation | None:
    if not answer:
        return None
    session_id, previous_id = (_text(part) for part in (*answer, None)[:2])
    return None if session_id is None else Conversation(session_id, previous_id)


def _text(answer: bytes | str | None) -> str | None:
    return answer.decode() if isinstance(answer, bytes) else answer
