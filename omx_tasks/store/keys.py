"""Every key that the product stores, spelled here and nowhere else.

All keys of one queue, of one run and of one task's result carry one hash tag, so that a script can touch
them together. The comment behind each function is the Redis type and what is in it.
"""

from __future__ import annotations

import binascii
from functools import lru_cache

from omx_tasks.priorities import Priority

#: Queues, and runs, whose keys are kept ready: spelling them costs more than all else in making a call.
KEPT = 1024


def tag(word: str) -> str:
    """Return ``word`` as a hash tag; braces of its own would end or empty the tag."""
    return "{" + word.replace("{", "%7B").replace("}", "%7D") + "}"


# --- a queue: omx:{queue}:… -------------------------------------------------------------------------


def meta(queue: str) -> str:
    """Hash: ``seq`` (last number given), ``expires`` (ms unused until deletion), one counter an outcome.

    That of a first partition also has ``partitions``: how many there ever were.
    """
    return f"omx:{tag(queue)}:meta"


def messages(queue: str) -> str:
    """Hash: message id → body, as published."""
    return f"omx:{tag(queue)}:messages"


def places(queue: str) -> str:
    """Hash: message id → ``priority|rank|seq|deliveries|token``: where it stands, and whose it is.

    ``seq`` rises from message to message and is the server's time (µs) of publishing, or just ahead of it.
    """
    return f"omx:{tag(queue)}:places"


def leases(queue: str) -> str:
    """Sorted set: message id, by the server's time (ms) at which its lease ends."""
    return f"omx:{tag(queue)}:leases"


def delayed(queue: str) -> str:
    """Sorted set: message id, by the server's time (ms) at which it may be claimed; suspects behind all times."""
    return f"omx:{tag(queue)}:delayed"


def done(queue: str) -> str:
    """Sorted set: ids of acknowledged messages, by time (ms): a publish sent twice is known by them."""
    return f"omx:{tag(queue)}:done"


def dead(queue: str) -> str:
    """Sorted set: ids of messages delivered, or lost, too often, by time (ms)."""
    return f"omx:{tag(queue)}:dead"


def waiting(queue: str, priority: Priority | int) -> str:
    """Sorted set: ``seq`` (16 hex digits) + message id, by minus the rank (ms of work that depends on it)."""
    return f"omx:{tag(queue)}:waiting:P{int(priority)}"


def bell(queue: str) -> str:
    """Sharded channel: rung with a priority when it is more urgent than what waited; with none for a new partition."""
    return f"omx:{tag(queue)}:bell"


def receipt(queue: str, token: str) -> str:
    """String: the ids that the claim with this token got, for the length of a lease."""
    return f"omx:{tag(queue)}:receipt:{token}"


@lru_cache(KEPT)
def queue_keys(queue: str) -> tuple[str, ...]:
    """Return the keys that every queue script gets, in the order in which the scripts name them."""
    return (
        meta(queue),
        messages(queue),
        places(queue),
        leases(queue),
        delayed(queue),
        done(queue),
        dead(queue),
        bell(queue),
        *(waiting(queue, priority) for priority in Priority),
    )


# --- exchanges: omx:{exchange:…}:… ------------------------------------------------------------------


def bindings(exchange: str) -> str:
    """Set: ``routing key``, ``pattern`` and ``queue`` as a JSON list."""
    return f"omx:{tag('exchange:' + exchange)}:bindings"


def broadcast(exchange: str) -> str:
    """Sharded channel: messages of a fan-out exchange."""
    return f"omx:{tag('exchange:' + exchange)}:broadcast"


def queue_names() -> str:
    """Set: the names of all queues that were declared or published to."""
    return f"omx:{tag('queues')}:names"


# --- a run: omx:{run:…}:… ---------------------------------------------------------------------------


def run(run_id: str) -> str:
    """Hash: name, state, created, finished, keep, total, open, failed, shared; with a timeout also timeout, deadline.

    When it was cancelled also error (JSON); when it was resumed generation, resumed (when), resumed_by (the
    request), idle (seconds between its ends and resumptions). ``session:GENERATION:SERVER``: the agent that has its
    session on a stateful server.
    """
    return f"omx:{tag('run:' + run_id)}:run"


def plan(run_id: str) -> str:
    """String: the graph and its inputs as JSON, stored once."""
    return f"omx:{tag('run:' + run_id)}:plan"


def waits(run_id: str) -> str:
    """Hash: operation → how many of the operations it needs are not done."""
    return f"omx:{tag('run:' + run_id)}:waits"


def successors(run_id: str) -> str:
    """Hash: operation → JSON list of the operations that need it."""
    return f"omx:{tag('run:' + run_id)}:successors"


def states(run_id: str) -> str:
    """Hash: operation → its state; not there while it waits."""
    return f"omx:{tag('run:' + run_id)}:states"


def records(run_id: str) -> str:
    """Hash: operation → JSON of attempts, agent, times and error."""
    return f"omx:{tag('run:' + run_id)}:records"


def outputs(run_id: str) -> str:
    """Hash: operation → JSON of text, structured and content."""
    return f"omx:{tag('run:' + run_id)}:outputs"


def items(run_id: str) -> str:
    """Hash: foreach operation → number of items; ``id[i]`` → the item as JSON."""
    return f"omx:{tag('run:' + run_id)}:items"


def remaining(run_id: str) -> str:
    """Hash: foreach operation → items not done; ``id:failed`` → of them failed; ``id:attempt`` → number, token;
    ``id:before`` → attempts before it was resumed; ``id:progress`` → its entry in the stream."""
    return f"omx:{tag('run:' + run_id)}:remaining"


def outbox(run_id: str) -> str:
    """Sorted set: operations that are ready or running, by the time (ms) at which they were last looked after."""
    return f"omx:{tag('run:' + run_id)}:outbox"


def stream(run_id: str) -> str:
    """Stream: each change of an operation's or the run's state, and how far what runs is."""
    return f"omx:{tag('run:' + run_id)}:stream"


@lru_cache(KEPT)
def run_keys(run_id: str) -> tuple[str, ...]:
    """Return the keys that every run script gets, in the order in which the scripts name them."""
    spellings = (
        run,
        plan,
        waits,
        successors,
        states,
        records,
        outputs,
        items,
        remaining,
        outbox,
        stream,
    )
    return tuple(spell(run_id) for spell in spellings)


def order(order_id: str) -> str:
    """String: the run that a producer's message became, by that message's id."""
    return f"omx:{tag(order_id)}:order"


def runs() -> str:
    """Sorted set: run id, by the time (s) at which it was submitted."""
    return f"omx:{tag('runs')}:all"


def open_runs() -> str:
    """Sorted set: run ids that may not be finished, by the time (s) of submission."""
    return f"omx:{tag('runs')}:open"


def ended_runs() -> str:
    """Sorted set: ids of runs that are over and whose end is still looked after, by when that was seen (ms)."""
    return f"omx:{tag('runs')}:ended"


# --- turns at a server: omx:{turn:…}:… ----------------------------------------------------------------


def turn_holders(server: str) -> str:
    """Hash: resource ('' for the whole server) → message id of the operation that has its turn."""
    return f"omx:{tag('turn:' + server)}:holders"


def turn_line(server: str) -> str:
    """Sorted set of operations that wait, all of score 0: resource and place in the line, then message id."""
    return f"omx:{tag('turn:' + server)}:line"


def turn_places(server: str) -> str:
    """Hash: message id → state, resource, queue, since when (µs), member of the line."""
    return f"omx:{tag('turn:' + server)}:places"


def turn_arrivals(server: str) -> str:
    """Hash: resource and run → number of the run's first arrival; '' → last number given."""
    return f"omx:{tag('turn:' + server)}:arrivals"


@lru_cache(KEPT)
def turn_keys(server: str) -> tuple[str, ...]:
    """Return the keys that every script of turns gets, in the order in which the scripts name them."""
    return (
        turn_holders(server),
        turn_line(server),
        turn_places(server),
        turn_arrivals(server),
    )


# --- agents: omx:{agents}:… -------------------------------------------------------------------------


def agents() -> str:
    """Hash: agent → when it was last heard (ms), a space, JSON of host, pid, slots, servers and more."""
    return f"omx:{tag('agents')}:agents"


def nurseries() -> str:
    """Hash: nursery → when it was last heard (ms), a space, JSON of host, pid, template, its agents and more."""
    return f"omx:{tag('agents')}:nurseries"


def wanted() -> str:
    """Hash: nursery → how many agents it is to have."""
    return f"omx:{tag('agents')}:wanted"


def capability_sets() -> str:
    """Set: capability sets that operations required, words joined by ``+``."""
    return f"omx:{tag('agents')}:capability-sets"


def cancellations() -> str:
    """Sharded channel: ids of runs that were cancelled."""
    return f"omx:{tag('agents')}:cancellations"


def needs(run_id: str) -> str:
    """String: JSON of the servers that a run needs: since when, when first and how widely; it lapses."""
    return f"omx:{tag('agents')}:needs:{run_id}"


def needed() -> str:
    """Sharded channel: what runs that were just submitted need, as ``run JSON``."""
    return f"omx:{tag('agents')}:needed"


def expected() -> str:
    """String: JSON of server → operations that are expected in the next minute; it lapses where nobody forecasts."""
    return f"omx:{tag('agents')}:expected"


def warmers(server: str, run_id: str) -> str:
    """Sorted set: agents that keep a server warm for a run ('': for what is expected), by when that lapses (ms)."""
    return f"omx:{tag('agents')}:warmers:{run_id}:{server}"


def answering(server: str) -> str:
    """Sorted set: agents to which a server's operations are left, by when that lapses (ms)."""
    return f"omx:{tag('agents')}:answering:{server}"


def catalogue() -> str:
    """Hash: server → JSON of its tools, resources and prompts, as an agent saw them."""
    return f"omx:{tag('agents')}:catalogue"


# --- coordinators: omx:{coordination}:… -------------------------------------------------------------


def lease() -> str:
    """Hash: ``leader``, its fencing ``token``, ``since`` when and ``until`` when it leads (ms)."""
    return f"omx:{tag('coordination')}:lease"


def coordinators() -> str:
    """Hash: coordinator → when it was last heard (ms), a space, JSON of host, pid, duties and more."""
    return f"omx:{tag('coordination')}:coordinators"


def memory() -> str:
    """Hash: duty → JSON of what it knew last, for the leader after this one."""
    return f"omx:{tag('coordination')}:memory"


# --- what was measured: omx:{durations}:… -----------------------------------------------------------


def operation_durations(graph: str) -> str:
    """Hash: operation id → seconds, a decayed average over the runs of the graphs of this name."""
    return f"omx:{tag('durations')}:graph:{graph}"


def call_durations() -> str:
    """Hash: server, kind and target → seconds, a decayed average over all graphs."""
    return f"omx:{tag('durations')}:calls"


def opening_durations() -> str:
    """Hash: server → seconds that it takes to open a session, and how far off that is: decayed averages."""
    return f"omx:{tag('durations')}:openings"


def durations_report(token: str) -> str:
    """String: there while an agent's report with this token must not be counted again."""
    return f"omx:{tag('durations')}:report:{token}"


# --- what was counted of the events: omx:{counts}:… ---------------------------------------------------


def counts_state() -> str:
    """Hash: ``partition:priority`` → number of the last event of that log that is counted; ``since`` (ms), ``late``,
    ``repeated``."""
    return f"omx:{tag('counts')}:state"


def counts_names(dimension: str) -> str:
    """Sorted set: names of series, by when they were last asked for (ms)."""
    return f"omx:{tag('counts')}:names:{dimension}"


def counts(span: str, number: int, dimension: str) -> str:
    """Hash: ``page:name`` of a series (name '': all that have no series of their own) → its counts, packed."""
    return f"omx:{tag('counts')}:{span}:{number}:{dimension}"


# --- events: omx:{events:N…}:… ----------------------------------------------------------------------

#: How far from its place on the ring of slots a partition may be.
_NEAR = 64
_SLOTS = 16384


def event_layout() -> str:
    """String: how many partitions the events have, for good."""
    return f"omx:{tag('events')}:partitions"


@lru_cache(KEPT)
def partition(number: int) -> str:
    """Return a partition's word, so chosen that the first few are spread evenly over three masters, or many.

    Their places on the ring are 1/3 of it apart, then 1/9, then 1/27 (van der Corput).
    """
    place, step, rest = _SLOTS / 54, _SLOTS / 3, number
    while rest:
        rest, digit = divmod(rest, 3)
        place, step = place + digit * step, step / 3
    suffix = 0
    while abs(binascii.crc_hqx(f"events:{number}.{suffix}".encode(), 0) % _SLOTS - place) > _NEAR:
        suffix += 1
    return f"events:{number}.{suffix}"


def _event_key(number: int, name: str) -> str:
    return f"omx:{tag(partition(number))}:{name}"


def event_log(number: int, priority: Priority | int) -> str:
    """Stream: ``t`` type, ``k`` key, ``e`` the event as JSON; entries are numbered 1-0, 2-0, 3-0 …"""
    return _event_key(number, f"log:P{int(priority)}")


def event_meta(number: int) -> str:
    """Hash: ``first:P``, ``last:P`` (what a log has), ``published``, ``repeated``, ``unknown``, ``refused``, …"""
    return _event_key(number, "meta")


def event_cursors(number: int) -> str:
    """Hash: ``P:group`` → number of the last event that the group is done with, or has put into its retry line."""
    return _event_key(number, "cursors")


def event_seen(number: int) -> str:
    """Hash: group → when it last claimed (ms)."""
    return _event_key(number, "seen")


def event_dropped(number: int) -> str:
    """Hash: group → events that were dropped before it had handled them, since it had not claimed for long."""
    return _event_key(number, "dropped")


def event_producer(number: int, producer: str) -> str:
    """String: the number of the last batch that a producer has stored here, for a day."""
    return _event_key(number, f"producer:{producer}")


def event_bell(number: int) -> str:
    """Sharded channel: how many events of each priority were published, as ``n n n n``; none: it was given back."""
    return _event_key(number, "bell")


def event_group(number: int, group: str) -> str:
    """Hash: ``owner``, ``until`` (ms), ``end:P`` (last given), ``tries:P``, ``careful:P``, ``given``, ``told``, …"""
    return _event_key(number, f"group:{group}")


def event_waiting(number: int, group: str) -> str:
    """Hash: member of the retry line → ``deliveries|event as JSON``."""
    return _event_key(number, f"waiting:{group}")


def event_order(number: int, group: str) -> str:
    """Sorted set, all scores 0: the retry line, members ``priority|key NUL number (16 digits)``."""
    return _event_key(number, f"order:{group}")


def event_due(number: int, group: str) -> str:
    """Sorted set: ``priority|key`` of which something is in the retry line, by the time (ms) at which it is due."""
    return _event_key(number, f"due:{group}")


def event_dead(number: int, group: str) -> str:
    """Stream: ``e`` the event, ``error``, ``deliveries``, its ``member`` of the retry line: delivered too often."""
    return _event_key(number, f"dead:{group}")


def event_consumers(number: int, group: str) -> str:
    """Sorted set: consumers of a group, by when they were last there (ms)."""
    return _event_key(number, f"consumers:{group}")


@lru_cache(KEPT)
def event_log_keys(number: int) -> tuple[str, ...]:
    """Return the keys of a partition that every script of events gets, in the order in which they name them."""
    spellings = (event_meta, event_cursors, event_seen, event_dropped, event_bell)
    logs = (event_log(number, priority) for priority in Priority)
    return (*(spell(number) for spell in spellings), *logs)


@lru_cache(KEPT)
def event_group_keys(number: int, group: str) -> tuple[str, ...]:
    """Return the keys that a group's scripts get: the partition's, then its own."""
    spellings = (event_group, event_waiting, event_order, event_due, event_dead, event_consumers)
    return (*event_log_keys(number), *(spell(number, group) for spell in spellings))


def once(group: str, event_id: str) -> str:
    """String: there while a group remembers that it has handled an event."""
    return f"omx:{tag('once:' + event_id)}:{group}"
