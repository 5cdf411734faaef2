"""Conversations of many machines, in Redis or Valkey."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from hl_sessions.errors import ConfigurationError
from hl_sessions.process.reentry import mute_while_creating
from hl_sessions.stores.base import (
    FORGET_AFTER,
    LONGEST_CLAIM,
    USES_COUNTED,
    Claim,
    Conversation,
    ConversationStore,
    new_reference_id,
)

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.connection import Connection
    from redis.retry import Retry
except ImportError as error:
    raise ImportError(
        "hl_sessions.stores.RedisStore needs redis-py: pip install 'hl-sessions[redis]'"
    ) from error

if TYPE_CHECKING:
    from redis.commands.core import Script

__all__ = ["RedisStore"]

mute_while_creating(
    "push_response",
    "redis._parsers.base",
    "redis.client",
    "redis.cluster",
    "redis.connection",
    "redis.credentials",
    "redis.maint_notifications",
)

TIMEOUT = 1.0  # seconds for a connection, and for an answer
MAX_CONNECTIONS = 2**31  # no limit: with too few for all readers, a healthy server would seem to be down
_PREFIX = "hl-sessions:"

# A conversation is one string, so that a plain GET reads it. It has seven words: session, previous session,
# last use, "ended", claimant, end of the lease, reference. Times are in seconds; "-" stands for no value.
# Each script has one key, so that a cluster knows where to run it. Its last two arguments are the longest
# time for which a claim may be valid, in seconds, and the time after which Redis drops the string, in
# milliseconds; a claim stays until its lease ends.
_WORDS = 7
_NOTHING = "-"
_BEGIN = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local kept = redis.call('GET', KEYS[1])
local words = {}
for word in string.gmatch(kept or '', '%S+') do
    words[#words + 1] = word ~= '-' and word
end
local entry = {}
if #words == 7 then
    entry.session, entry.previous, entry.used = words[1], words[2], tonumber(words[3] or 0)
    entry.ended, entry.claimant, entry.lease = words[4], words[5], tonumber(words[6] or 0)
    entry.reference = words[7]
end
if not (entry.used and entry.lease and entry.reference) then entry = {} end  -- somebody else's
local longest_claim, milliseconds = tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV])
local is_claimed = entry.claimant and now < entry.lease and entry.lease <= now + longest_claim
local function is_idle(max_idle)
    return max_idle ~= '' and now - entry.used > tonumber(max_idle)
end
local function is_going_on(max_idle)
    return entry.session and not entry.ended and not is_idle(max_idle)
end
local function use(max_idle, reference)
    if not entry.reference or is_idle(max_idle) and not is_claimed then
        entry.reference, entry.ended = reference, entry.session and 'ended'
    end
    entry.used = now
end
local function keep()
    local used, lease = string.format('%.6f', entry.used), string.format('%.6f', entry.lease or 0)
    local sessions = {entry.session or '-', entry.previous or '-', used}
    local claim = {entry.ended or '-', entry.claimant or '-', lease}
    local words = {table.concat(sessions, ' '), table.concat(claim, ' '), entry.reference}
    local of_claim = entry.claimant and math.min(entry.lease - now, longest_claim) or 0
    milliseconds = math.max(milliseconds, math.ceil(of_claim * 1000))
    redis.call('SET', KEYS[1], table.concat(words, ' '), 'PX', milliseconds)
end
"""
_GET = (
    _BEGIN
    + """
if not is_going_on(ARGV[1]) then return false end
entry.used = now
keep()
return kept
"""
)
_CLAIM = (
    _BEGIN
    + """
if is_going_on(ARGV[3]) or is_claimed and entry.claimant ~= ARGV[1] then return false end
use(ARGV[3], ARGV[4])
entry.claimant, entry.lease = ARGV[1], now + ARGV[2]
keep()
return {entry.reference, entry.session}
"""
)
_SAVE = (
    _BEGIN
    + """
if entry.claimant ~= ARGV[1] then return false end
entry = {session = ARGV[2], previous = entry.session, used = now, reference = entry.reference}
keep()
return redis.call('GET', KEYS[1])
"""
)
_RELEASE = (
    _BEGIN
    + """
if entry.claimant == ARGV[1] then
    entry.claimant, entry.lease = nil, nil
    keep()
end
"""
)
_REFER = (
    _BEGIN
    + """
use(ARGV[1], ARGV[2])
keep()
return entry.reference
"""
)
_TOUCH = (
    _BEGIN
    + """
if entry.reference == ARGV[1] then
    entry.used = now
    keep()
end
"""
)
_END = (
    _BEGIN
    + """
if entry.reference then
    entry.claimant, entry.lease = nil, nil
    entry.ended, entry.used, entry.reference = entry.session and 'ended', now, ARGV[1]
    keep()
end
"""
)


class RedisStore(ConversationStore):
    """Keeps conversations in Redis or Valkey, for all processes of many machines.

    The clock is that of the server, which drops forgotten conversations by itself.

    Args:
        url: the URL of the database, like ``redis://:password@host:6379/0``, with any option of redis-py as
            its query. Or a client, a ``redis.Redis`` or ``redis.RedisCluster``, which the caller closes. Give
            a client ``socket_timeout=1``, ``socket_connect_timeout=1`` and ``retry=Retry(NoBackoff(), 0)``:
            reads wait that long for a server that does not answer. By default redis-py 8 tries eleven times.
        namespace: keeps the conversations of several applications in one database apart.
        hash_keys: give the database only the SHA-256 hash of a key.
        forget_after: seconds after its last use until a conversation is forgotten. Default: 90 days.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(
        self,
        url: str | redis.Redis | redis.RedisCluster,
        *,
        namespace: str = "",
        hash_keys: bool = False,
        forget_after: float = FORGET_AFTER,
    ) -> None:
        super().__init__(namespace=namespace, hash_keys=hash_keys, forget_after=forget_after)
        self._owns_client = isinstance(url, str)
        # Any: the types of redis-py include results of asynchronous clients.
        self._client: Any = _client(url) if isinstance(url, str) else url
        if not isinstance(self._client, (redis.Redis, redis.RedisCluster)):
            raise ConfigurationError(
                f"url must be a str, a redis.Redis or a redis.RedisCluster, not {type(url).__name__}"
            )
        _check_time_limits(self._client)
        self._get, self._claim, self._save = map(self._script, (_GET, _CLAIM, _SAVE))
        self._release, self._refer, self._touch = map(self._script, (_RELEASE, _REFER, _TOUCH))
        self._end = self._script(_END)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self._client).__name__})"  # a URL may hold a password

    def _script(self, text: str) -> Script:
        return cast("Script", self._client.register_script(text))

    def get(self, key: str, *, max_idle: float | None) -> Conversation | None:  # noqa: D102 - the contract's
        if max_idle is not None:
            return _conversation(self._run(self._get, key, max_idle))
        kept = self._client.execute_command("GET", _PREFIX + key)
        conversation = _conversation(kept)
        if conversation is not None and time.time() - _last_use(kept) > self.forget_after / USES_COUNTED:
            self.touch(key, conversation.reference_id)
        return conversation

    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> Claim | None:  # noqa: D102
        idle = "" if max_idle is None else max_idle
        claimed = self._run(self._claim, key, quote(claimant), lease, idle, new_reference_id())
        return None if claimed is None else _claim(*claimed)

    def save(self, key: str, claimant: str, session_id: str) -> Conversation | None:  # noqa: D102
        return _conversation(self._run(self._save, key, quote(claimant), session_id))

    def release(self, key: str, claimant: str) -> None:  # noqa: D102
        self._run(self._release, key, quote(claimant))

    def reference_id(self, key: str, *, max_idle: float | None) -> str:  # noqa: D102
        idle = "" if max_idle is None else max_idle
        return cast("str", _text(self._run(self._refer, key, idle, new_reference_id())))

    def touch(self, key: str, reference_id: str) -> None:  # noqa: D102
        self._run(self._touch, key, reference_id)

    def end(self, key: str) -> None:  # noqa: D102
        self._run(self._end, key, new_reference_id())

    def forget(self, key: str) -> None:  # noqa: D102
        self._client.delete(_PREFIX + key)

    def _run(self, script: Script, key: str, *arguments: str | float) -> Any:
        milliseconds = max(1, round(self.forget_after * 1000))
        return script(keys=[_PREFIX + key], args=[*arguments, LONGEST_CLAIM, milliseconds])

    def close(self) -> None:
        """Close the connections, unless the caller gave the client; a later call opens new ones."""
        if self._owns_client:
            self._client.close()


def _client(url: str) -> redis.Redis:
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            max_connections=MAX_CONNECTIONS,
            # Retry once at once, as the server may have closed an idle connection; never after a time-out.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # only this notices an unknown option
    except (ValueError, TypeError, AttributeError):
        # The text of the error may hold a part of the password.
        raise ConfigurationError(
            "url is not a Redis URL like 'redis://host:6379/0', or has a wrong option (value not shown)"
        ) from None
    return client


def _check_time_limits(client: redis.Redis | redis.RedisCluster) -> None:
    limits = ("socket_timeout", "socket_connect_timeout")
    settings = client.get_connection_kwargs()
    # A missing setting has the default of the connection, which depends on the version of redis-py.
    make: Any = Connection
    connection = make(**{limit: settings[limit] for limit in limits if limit in settings})
    for limit in limits:
        if getattr(connection, limit) is None:
            raise ConfigurationError(
                f"url: the {type(client).__name__} client has {limit}=None, so that a server that does not"
                " answer would stop the application; give it socket_timeout=1, socket_connect_timeout=1"
            )


def _last_use(kept: bytes | str) -> float:
    return float(kept.split()[2])


def _text(kept: bytes | str | None) -> str | None:
    return kept.decode("utf-8", "replace") if isinstance(kept, bytes) else kept


def _claim(reference_id: bytes | str, session_id: bytes | str | None = None) -> Claim:
    return Claim(cast("str", _text(reference_id)), _text(session_id))


def _conversation(kept: bytes | str | None) -> Conversation | None:
    words = (_text(kept) or "").split(" ")
    if len(words) != _WORDS or words[0] == _NOTHING or words[3] != _NOTHING:
        return None
    session_id, previous_id, *_, reference_id = words
    return Conversation(session_id, None if previous_id == _NOTHING else previous_id, reference_id)
