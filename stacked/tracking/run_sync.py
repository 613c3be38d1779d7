"""Synchronisation of a run with the store: everything is stored in its work folder first, and sent now or after an outage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stacked.tracking.backend.client import KEY_TAG, StoreClient
from stacked.tracking.backend.store import OUTAGES
from stacked.tracking.backend.workarounds import forget_artifact_repository
from stacked.tracking.metric_log import MetricLog
from stacked.tracking.pending_uploads import PendingUpload, store_upload, stored_uploads
from stacked.tracking.run_record import FAILURE_TAG, RunRecord
from stacked.tracking.uploader import Uploader

METRIC_LOG = "points.jsonl"


class SyncedRun:
    """The local state of a run, and its transfer to the store."""

    def __init__(self, client: StoreClient, folder: Path, record: RunRecord, parent: SyncedRun | None = None) -> None:
        self._client = client
        self._folder = folder
        self._record = record
        self._parent = parent
        self._log = MetricLog(folder / METRIC_LOG)
        self._pending = stored_uploads(folder)
        self._found = False
        self._in_database: list[PendingUpload] = []  # finished uploads that exist only in the store's database
        self._uploader: Uploader = parent._uploader if parent else Uploader(self._send, client.store.uri, str(folder))
        record.points_sent = min(record.points_sent, len(self._log.entries))
        record.save(folder)

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None until the store has answered."""
        return self._record.run_id

    @property
    def unsent(self) -> int:
        """The number of entries of this run's metric log (without its phases) that the store does not have yet."""
        return len(self._log.entries) - self._record.points_sent

    def flush(self) -> bool:
        """Send everything pending of the run, its parent and its phases; False if the store fails, or failed a moment ago."""
        return self._uploader.flush()

    def _set_tags(self, tags: Mapping[str, object]) -> None:
        self._record.set_tags(tags)
        self._record.save(self._folder)

    def _do(self, upload: PendingUpload) -> None:
        """Perform an upload, or store it for later; one with a label is done only once for the run."""
        label = upload.once
        if label and (label in self._record.done or any(label == waiting.once for waiting in self._pending)):
            return
        self._pending.append(upload)
        if not self._uploader.flush():
            store_upload(self._folder, upload)

    def _send(self) -> None:
        """Send everything new; after an outage the record and the pending uploads tell where to resume."""
        if self._is_settled():
            return
        try:
            self._client.check_free()
            self._bring_up_to_date(self._connect())
        except OUTAGES:
            self._client.forget(self._record.run_id)
            raise
        finally:
            self._record.save(self._folder)

    def _bring_up_to_date(self, run_id: str) -> None:
        record = self._record
        if not record.tags_sent:
            self._client.log_tags(run_id, record.tags)
            record.tags_sent = True
        if self.unsent:
            self._client.log_metrics(run_id, self._log.entries[record.points_sent :])
            record.points_sent = len(self._log.entries)
        if record.ended is not None and not record.end_sent:
            self._client.end_run(run_id, record.status, record.ended)
            record.end_sent = True
        self._do_pending(run_id)
        if record.ended is not None:
            forget_artifact_repository(run_id)

    def _do_pending(self, run_id: str) -> None:
        """Perform pending uploads; one that the store refuses does not block the others."""
        failures = []
        for upload in list(self._pending):
            try:
                upload.do(self._client, run_id, self._folder)
            except OUTAGES as error:
                failures.append(error)
            else:
                self._pending = [each for each in self._pending if each is not upload]  # by identity: arrays have no ==
                self._record.done.extend([upload.once] if upload.once else [])
                self._in_database += [upload] if upload.what in ("log_dataset", "log_model") else []
        if failures:
            raise failures[0]

    def _is_settled(self) -> bool:
        record = self._record
        up_to_date = record.tags_sent and not self.unsent and not self._pending
        return up_to_date and self._is_connected() and (record.end_sent or record.ended is None)

    def _is_connected(self) -> bool:
        """Whether the run is known to exist in the store, with the right parent; an ended run is not looked up again."""
        return (self._found or self._record.end_sent) and self._record.parent == self._parent_id()

    def _parent_id(self) -> str | None:
        return self._parent.run_id if self._parent else None

    def _connect(self) -> str:
        """Find the run in the store, or create it there with everything known of it."""
        record = self._record
        if record.run_id is not None and self._is_connected():
            return record.run_id
        stored = self._client.find_run(record.run_id) if record.run_id else None
        same = record.parent == self._parent_id()
        if stored is not None and same:
            run_id = stored.info.run_id
            self._client.check_artifacts(run_id)
            if record.ended is None:
                self._client.reopen_run(stored, [FAILURE_TAG])
        else:
            run_id = (self._client.find_by_key(record.key) if same else None) or self._create()
            self._client.check_artifacts(run_id)
        record.run_id = run_id
        record.save(self._folder)
        self._client.log_params(run_id, record.params)
        self._found = True
        return run_id

    def _create(self) -> str:
        record, parent, lost, done = self._record, self._parent_id(), self._record.run_id, self._record.done
        if lost or record.parent != parent:
            record.forget_store()
            record.parent = parent
            record.save(self._folder)
        parent_tag = {"mlflow.parentRunId": parent} if parent else {}
        run_id = self._client.create_run(record.name, record.started, record.tags | parent_tag | {KEY_TAG: record.key})
        record.tags_sent = True
        if lost and self._client.adopt_files(lost, run_id):
            record.done = [label for label in done if label.startswith("image ")]
        self._pending, self._in_database = self._in_database + self._pending, []
        return run_id

    def look_again(self) -> None:
        """Mark everything as not sent, because the store may have lost the run."""
        record, self._found = self._record, False
        record.points_sent, record.tags_sent, record.end_sent = 0, False, False
