"""Builds the keeper's parts and runs its loops until ``stop`` is set."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial

import structlog

from jobs.errors import ObjectStoreUnavailable
from jobs.lifecycle.bootstrap import wait_until_ready
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.lifecycle.recovery.reconcile import Recovery
from jobs.lifecycle.upload_cleanup import UploadCleanup
from jobs.objects.store import ObjectStore
from jobs.service_metrics import register_table_collector
from jobs.table.deliveries import DeliveryStore
from jobs.table.maintenance import MaintenanceStore
from jobs.table.reports.stats import StatsReader
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from jobs.table.uploads import UploadLedger
from jobs.wakeup.app import configure_app
from runtime.process.garbage import freeze_startup_objects
from runtime.process.stall_exit import exit_when_stalled
from runtime.settings import Settings
from runtime.telemetry.probes import start_probe_server
from runtime.tls import client_context
from worker.egress.client import EgressClient
from worker.heartbeat import Heartbeat
from worker.keeper.delivery.deliverer import Deliverer
from worker.keeper.delivery.dispatcher import MAX_THREADS, DeliveryDispatcher
from worker.keeper.loops import LoopMonitor, in_own_thread, repeat
from worker.keeper.reaper import Reaper

log = structlog.get_logger(__name__)

MAINTENANCE_INTERVAL_S = 0.5
CLEANUP_INTERVAL_S = 1.0
UPLOAD_CLEANUP_INTERVAL_S = 10.0
RECOVERY_INTERVAL_S = 1.0
DELIVERY_INTERVAL_S = 0.2
OBJECT_STORE_TIMEOUT_S = 4.0
"""An object store that hangs must not delay the maintenance, or the keeper's stop, for long."""
DRAIN_TIMEOUT_S = 4.0
"""How long running delivery attempts may take after the stop; then they are released to another keeper."""


async def run_keeper(settings: Settings, stop: asyncio.Event) -> None:
    """Run all loops until ``stop`` is set, then drain the running deliveries."""
    redis = connect(settings)
    store, deliveries = JobStore(redis, lease_s=settings.lease_s), DeliveryStore(redis)
    object_store = ObjectStore(settings, timeout_s=OBJECT_STORE_TIMEOUT_S, tries=2)
    monitor = LoopMonitor(stall_timeout_s=settings.keeper_stall_timeout_s)
    register_table_collector(StatsReader(redis, lease_s=settings.lease_s), settings)
    start_probe_server(settings, process="keeper", is_live=monitor.is_live, is_ready=monitor.is_ready)
    await asyncio.to_thread(wait_until_ready, store, object_store, stop=stop.is_set)
    exit_when_stalled(monitor.is_live, timeout_s=settings.stall_exit_s)
    configure_app(settings)
    freeze_startup_objects()
    finalizer = JobFinalizer(store, object_store, retention_days=settings.retention_days)
    reaper = Reaper(store, MaintenanceStore(redis, lease_s=settings.lease_s), object_store, finalizer)
    recovery = Recovery(redis, object_store, settings)
    uploads = UploadCleanup(UploadLedger(redis), object_store)
    await asyncio.to_thread(_update_lifecycle, object_store)
    heartbeat = Heartbeat(store, stage="keeper", slots=0, interval_s=settings.heartbeat_s)
    heartbeat.start()
    heartbeat.set_state("ready")
    log.info("worker.ready")
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MAX_THREADS, "delivery"))
    async with EgressClient(settings.egress_networks, tls_context=partial(client_context, settings)) as egress:
        dispatcher = DeliveryDispatcher(deliveries, Deliverer(store, deliveries, object_store, settings, egress))
        async with asyncio.TaskGroup() as group:
            for action, interval_s in (
                (monitor.watch(in_own_thread(reaper.run_maintenance, "maintenance")), MAINTENANCE_INTERVAL_S),
                (in_own_thread(reaper.run_cleanup, "cleanup"), CLEANUP_INTERVAL_S),
                (in_own_thread(uploads.run, "uploads"), UPLOAD_CLEANUP_INTERVAL_S),
                (in_own_thread(partial(_recover_if_needed, recovery, stop), "recovery"), RECOVERY_INTERVAL_S),
                (dispatcher.dispatch_due, DELIVERY_INTERVAL_S),
            ):
                group.create_task(repeat(action, interval_s=interval_s, stop=stop))
        await dispatcher.drain(timeout_s=DRAIN_TIMEOUT_S)
    await asyncio.to_thread(heartbeat.stop)


def _update_lifecycle(object_store: ObjectStore) -> None:
    """Set the bucket's lifecycle rules: the settings may have changed since `thinkqueue init`."""
    try:
        object_store.set_lifecycle()
    except ObjectStoreUnavailable as error:
        log.warning("lifecycle.update_failed", detail=error.message)


def _recover_if_needed(recovery: Recovery, stop: asyncio.Event) -> None:
    """Reconcile the job table with the object store after Redis restarted or failed over, which may lose writes."""
    if recovery.is_needed:
        report = recovery.run(stop=stop.is_set)
        log.info("keeper.reconciled", **asdict(report))
