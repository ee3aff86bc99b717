"""Everything that one worker process holds, from its start to its end."""

import logging
import threading

from celery import Celery
from kombu.exceptions import ChannelError

from app.db import Database
from app.queue import LIGHT_QUEUE, TRAIN_QUEUES, Doorbell
from app.secret import service_secret
from app.settings import Settings
from app.storage import open_storage
from app.webhooks.reach import Reach
from app.webhooks.secrets import SecretMaker
from workers.blobcache import BlobCache
from workers.courier import LOOK_S, Courier
from workers.deliveries import Deliveries
from workers.exporter import Exporter
from workers.exports import Exports
from workers.forks import Forks, may_fork
from workers.inspection import Inspector
from workers.janitor import Janitor
from workers.ledger import Ledger
from workers.post import Post
from workers.processes import Spawner, Trainer, trainer_environment
from workers.retention import Retention
from workers.roster import Roster
from workers.standby import Standby
from workers.succession import Seat, succeed
from workers.supervisor import Supervisor
from workers.sweeper import Sweeper
from workers.ticker import Ticker
from workers.verdicts import Verdicts

HELLO_S = 0.5
"""Between two looks at the idle trainers."""
CLEAN_S = 300.0
"""Between two looks for what nobody needs any more."""

log = logging.getLogger(__name__)


class Host:
    """Starts warming trainers when it is made, since that takes longest."""

    def __init__(
        self, settings: Settings, celery: Celery, *, worker: str, queues: set[str], slots: int
    ) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        self._celery = celery
        self.shutdown = threading.Event()
        self.trains = queues != {LIGHT_QUEUE}
        environment = trainer_environment(settings.home)
        self._spawner = Spawner()
        self._forks = None
        if may_fork(settings.device):
            self._forks = Forks(self._spawner, environment)
        self._standby = Standby(
            lambda: Trainer(self._spawner, environment, forks=self._forks),
            slots if self.trains else 1,
        )
        self._standby.fill()

        self._database = Database(settings.database, idle_limit_s=settings.lease_s)
        self._doorbell = Doorbell(settings)
        storage = open_storage(settings)
        ledger = Ledger(
            self._database, lease_s=settings.lease_s, max_attempts=settings.max_attempts
        )
        self.supervisor = Supervisor(
            ledger=ledger,
            storage=storage,
            standby=self._standby,
            doorbell=self._doorbell,
            settings=settings,
            worker=worker,
            shutdown=self.shutdown,
            priorities=[name for name, queue in TRAIN_QUEUES.items() if queue in queues],
        )
        self._seat = Seat(settings.home, worker)
        if self.trains and self._seat.take():
            succeed(ledger, self._doorbell, settings.home, worker)
        self.inspector = Inspector(
            verdicts=Verdicts(self._database),
            storage=storage,
            standby=self._standby,
            settings=settings,
            shutdown=self.shutdown,
        )
        self.exporter = Exporter(
            exports=Exports(self._database),
            storage=storage,
            standby=self._standby,
            settings=settings,
            shutdown=self.shutdown,
        )
        self._roster = Roster(self._database, worker, "train" if self.trains else LIGHT_QUEUE)
        self._tickers = [
            Ticker("hello", HELLO_S, self._listen),
            Ticker("heartbeat", min(settings.lease_s / 6, 10.0), self._roster.beat),
        ]
        if self.trains:
            sweeper = Sweeper(
                database=self._database,
                ledger=ledger,
                doorbell=self._doorbell,
                waiting=self._waiting,
                home=settings.home,
            )
            # Apart, so that no silent attempt waits for a broker that hangs.
            every_s = settings.lease_s / 4
            self._tickers.append(Ticker("recovery", every_s, sweeper.recover))
            self._tickers.append(Ticker("ringing", every_s, sweeper.ring))
        self._courier = Courier(
            Deliveries(self._database, SecretMaker(service_secret(settings))),
            Post(Reach.of(settings)),
            self.shutdown,
        )
        self._tickers.append(Ticker("webhooks", LOOK_S, self._courier.look))
        janitor = Janitor(
            database=self._database,
            storage=storage,
            cache=BlobCache(storage, settings.home, settings.blob_cache_bytes),
            home=settings.home,
            grace_s=settings.blob_grace_s,
            stray_grace_s=settings.stray_grace_s,
            retention=Retention(self._database, settings),
        )
        self._tickers.append(Ticker("clean", CLEAN_S, janitor.clean))

    def open(self) -> None:
        """Says that this worker is there."""
        self._roster.join()
        for ticker in self._tickers:
            ticker.start()

    def close(self) -> None:
        """Once no task runs any more: leaves no process and no row behind."""
        self.shutdown.set()
        for ticker in self._tickers:
            ticker.stop()
        self._courier.close()
        self._standby.close()
        if self._forks is not None:
            self._forks.close()
        self._doorbell.close()
        try:
            self._roster.leave()
        except Exception as error:
            log.warning("could not sign off: %s", error)
        self._database.close()
        self._spawner.close()

    def _listen(self) -> None:
        if hello := self._standby.listen():
            self._roster.describe(hello)

    def _waiting(self, queue: str) -> int:
        with self._celery.connection_for_read() as connection:
            try:
                return int(
                    connection.default_channel.queue_declare(queue, passive=True).message_count
                )
            except ChannelError:  # no such queue: Redis forgets empty ones
                return 0
