"""What a user of the cluster must be allowed to do, and what is told to one who is not.

User and password of the address are sent with each new link. `RULE` is all that workers and their callers need, in
the words of ``ACL SETUSER``; a ``global_keyprefix`` of the result backend goes in front of the ``celery-…`` and
``chord-…`` patterns. The embedded cluster's own commands (``omx cluster``) are for its default user.

A refusal at the door is a `ConfigurationError` and is not tried again: neither a wrong password nor a missing right
mends itself. Whoever has been let in before goes on trying, since users are also changed while agents run.
"""

from __future__ import annotations

KEYS = ("~omx:*", "~celery-task-meta-*", "~celery-taskset-meta-*", "~chord-unlock-*")
CHANNELS = tuple("&" + pattern[1:] for pattern in KEYS)
CONNECTION = ("+ping", "+time", "+asking", "+cluster|slots")
DURABILITY = ("+wait", "+role")
#: What the durability ``fsync`` needs in addition; Redis 7.0 does not know the word.
FSYNC = ("+waitaof",)
SCRIPTS = ("+eval", "+evalsha", "+script|load")
SAID = ("+pubsub|shardnumsub", "+spublish", "+ssubscribe", "+sunsubscribe")
DATA = ("+@string", "+@hash", "+@set", "+@sortedset", "+@stream")
KEYSPACE = ("+del", "+exists", "+expire", "+pexpire", "+persist")
RULE = (*KEYS, *CHANNELS, "-@all", *CONNECTION, *DURABILITY, *SCRIPTS, *SAID, *DATA, *KEYSPACE)


def refusal(code: str, username: str | None) -> str | None:
    """Return what to do about a login that a server refused with this code; None where it may pass by itself."""
    user = repr(username or "default")
    if code == "WRONGPASS":
        return f"the password of user {user} is wrong, or that user is disabled; see user:password@ in the address"
    if code == "NOAUTH":
        return "it asks for a user and password; write user:password@ in front of the first host"
    return None


def missing_right(what: str) -> str:
    """Return what to do about something that the user may not do."""
    return f"this user may not {what}; grant what omx_tasks.store.access.RULE has (`ACL SETUSER`)"


def denied(answer: str) -> bool:
    """Whether an error answer is about a missing right, also inside a script (Redis 7.0, then Valkey)."""
    return answer.startswith("NOPERM") or any(
        words in answer
        for words in ("The user executing the script can't", "ACL failure in script")
    )
