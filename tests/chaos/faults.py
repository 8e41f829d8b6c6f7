"""What can go wrong while a driver works: each fault really happens, to real processes."""

import signal
import time
from collections.abc import Callable

from tests.chaos.rounds import Fault, Round

REFUSED, INTERRUPTED, TERMINATED = 2, 130, 143


def kill_engine(at: Round) -> bool:
    engines = at.engines()
    if engines:
        at.random.choice(engines).kill()
    return bool(engines)


def fail_engine(at: Round) -> bool:
    return _order(at, "fail")


def exhaust_memory(at: Round) -> bool:
    return _order(at, "memory")


def kill_before_rename(at: Round) -> bool:
    return _order(at, "rename")


def _order(at: Round, order: str) -> bool:
    at.orders.give(order)
    # An order that nobody takes, because scoring ends first, has caused nothing.
    return _within(5, lambda: not at.orders.open_orders()) or at.orders.withdraw()


def _within(seconds: float, happened: Callable[[], bool]) -> bool:
    ends = time.monotonic() + seconds
    while not happened() and time.monotonic() < ends:
        time.sleep(0.05)
    return happened()


def lose_machine(at: Round) -> bool:
    with at.orders.held():
        at.machines.lose(at.random.randrange(len(at.machines)))
        at.machines.join()
    return True


def kill_raylet(at: Round) -> bool:
    with at.orders.held():
        at.machines.lose_raylet(at.random.randrange(len(at.machines)))
        at.machines.join()
    return True


def lose_all_machines(at: Round) -> bool:
    with at.orders.held():
        while len(at.machines):
            at.machines.lose(0)
        at.machines.join()
        at.machines.join()
    return True


def kill_driver(at: Round) -> bool:
    return _end(at, signal.SIGKILL, -signal.SIGKILL)


def terminate_driver(at: Round) -> bool:
    return _end(at, signal.SIGTERM, TERMINATED)


def interrupt_driver(at: Round) -> bool:
    return _end(at, signal.SIGINT, INTERRUPTED)


def _end(at: Round, how: signal.Signals, code: int) -> bool:
    at.expect(code)
    at.driver.process.send_signal(how)
    return at.driver.end() == code


def start_second_driver(at: Round) -> bool:
    with at.orders.held():
        second = at.launch()
        code = second.end()
    if not at.driver.is_alive:
        return False
    named = f"is being written by process {at.driver.process.pid} on " in second.words()
    if code != REFUSED or not named:
        at.complain(f"a second driver ended with {code}: {second.words().strip()}")
    return True


def restart_store(at: Round) -> bool:
    assert at.server is not None
    at.server.kill()
    time.sleep(at.random.uniform(1, 20))
    at.server.start()
    return True


def freeze_store(at: Round) -> bool:
    assert at.server is not None
    at.server.freeze()
    time.sleep(at.random.uniform(1, 30))
    at.server.thaw()
    return True


EVERYWHERE = (
    Fault("engine process killed", kill_engine),
    Fault("engine failed", fail_engine),
    Fault("engine out of memory", exhaust_memory),
    Fault("machine lost", lose_machine),
    Fault("raylet killed", kill_raylet),
    Fault("all machines lost", lose_all_machines),
    Fault("driver killed", kill_driver),
    Fault("driver stopped by SIGTERM", terminate_driver),
    Fault("driver stopped by SIGINT", interrupt_driver),
    Fault("second driver started", start_second_driver),
)
ON_DISK = (Fault("engine killed before a rename", kill_before_rename),)
ON_A_STORE = (
    Fault("store killed and restarted", restart_store),
    Fault("store frozen", freeze_store),
)
