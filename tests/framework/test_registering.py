"""`--register`: the best models of a study become versions of registered models, chosen on validation images and once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stacked.spec import RunSpec
from stacked.tracking.backend.registry import Registry
from stacked.tracking.tracker import Store, Tracker, open_store
from stacked.util.errors import InputError
from stacked.util.serialization import to_json
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from studies.record import runs as record
from studies.viewing.registering import register_best
from tests.helpers.layerwise import HARDLY_CLASSIFIED

from mlflow import MlflowClient  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip

EXPERIMENT = "registered"


def trained(store: Store, out: Path, arm: str, seed: int, **measured: float) -> RunSpec:
    """Record a finished run whose models tell which run they are of: they add a constant."""
    spec = RunSpec(policy=arm, seed=seed)
    name, work = f"{arm}/s{seed}", store.root / "work" / spec.id
    with Tracker(store, EXPERIMENT, name=name, work=work, tags={"kind": "arm", "arm": arm}, params={}) as tracker:
        for model in ("encoder", "classifier-100", "classifier-all"):
            tracker.model(nn.Linear(1, 1), torch.zeros(2, 1), 3, model)
    row = {"run": spec.id, "arm": arm, "seed": seed, "status": "finished", "spec": to_json(spec), "updates": 3}
    row |= {name.replace("__", "/"): value for name, value in measured.items()}
    record.add(out, row, [], {})
    return spec


def values(valid: float, test: float, hundred: float, full: float) -> dict[str, float]:
    names = ("valid_recon_mse", "recon_mse", "classifier_valid_acc_100", "classifier_valid_acc_all")
    return {f"final__{name}": value for name, value in zip(names, (valid, test, hundred, full), strict=True)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """A store and the record of a study: seed 0 has the lowest validation error, seed 1 the lowest test error."""
    folder = tmp_path_factory.mktemp("home")
    store, out = open_store(folder / "store"), folder / "out"
    trained(store, out, "joint", 0, **values(0.1, 0.3, 0.9, 0.5))
    trained(store, out, "joint", 1, **values(0.2, 0.1, 0.8, 0.7))
    untrained = RunSpec(policy="random", seed=0)
    row = {"run": untrained.id, "arm": "random", "seed": 0, "status": "finished", "spec": to_json(untrained)}
    record.add(out, row | {"updates": 0, "final/valid_recon_mse": 0.01, "final/recon_mse": 0.01}, [], {})
    return store, out


def versions(store: Store) -> dict[str, list[tuple[str, str, list[str], int]]]:
    """What the registry holds: number, run, aliases and time of the last change of each version, by name."""
    client = MlflowClient(store.uri)
    found = {}
    for model in client.search_registered_models():
        all_of = client.search_model_versions(f"name = '{model.name}'")
        one = [client.get_model_version(model.name, each.version) for each in all_of]
        found[model.name] = sorted(
            (str(v.version), client.get_run(v.run_id).info.run_name, v.aliases, v.last_updated_timestamp) for v in one
        )
    return found


def without_times(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    return {name: [each[:3] for each in those] for name, those in versions(store).items()}


def test_the_best_models_on_validation_images_are_registered_once(home: tuple[Store, Path]) -> None:
    store, out = home
    told = register_best("digits", "demo", out, store, EXPERIMENT)
    assert told == (
        "Registered in MLflow with the alias 'best': digits version 1 (joint, seed 0) and digits-classifier version 1 (joint, "
        "seed 1, all labels)"
    )
    first = versions(store)
    assert without_times(store) == {
        "digits": [("1", "joint/s0", ["best"])],
        "digits-classifier": [("1", "joint/s1", ["best"])],
    }
    assert register_best("digits", "demo", out, store, EXPERIMENT) == told
    assert versions(store) == first
    client = MlflowClient(store.uri)
    version = client.get_model_version_by_alias("digits", "best")
    assert {"arm": "joint", "seed": "0", "study": "demo"}.items() <= version.tags.items()
    model = client.get_logged_model(version.tags["model_id"])
    assert model.name == "encoder-joint-s0"
    assert '"digits"' in model.tags["mlflow.modelVersions"]


def test_a_registered_model_loads_by_its_alias(home: tuple[Store, Path]) -> None:
    import mlflow

    store, out = home
    register_best("loads", "demo", out, store, EXPERIMENT)
    mlflow.set_tracking_uri(store.uri)
    version = MlflowClient(store.uri).get_model_version_by_alias("loads", "best")
    by_alias = mlflow.pytorch.load_model("models:/loads@best")
    by_id = mlflow.pytorch.load_model(f"models:/{version.tags['model_id']}")
    x = torch.rand(3, 1)
    assert torch.equal(by_alias(x), by_id(x))


def test_a_better_run_is_a_new_version_and_takes_the_alias(home: tuple[Store, Path], tmp_path: Path) -> None:
    store, out = home
    mine = tmp_path / "out"
    mine.mkdir()
    (mine / "runs.csv").write_bytes((out / "runs.csv").read_bytes())
    register_best("grows", "demo", mine, store, EXPERIMENT)
    trained(store, mine, "greedy", 0, final__valid_recon_mse=0.05, final__recon_mse=0.5)
    assert "grows version 2 (greedy, seed 0)" in register_best("grows", "demo", mine, store, EXPERIMENT)
    assert without_times(store)["grows"] == [("1", "joint/s0", []), ("2", "greedy/s0", ["best"])]
    assert without_times(store)["grows-classifier"] == [("1", "joint/s1", ["best"])]


def test_a_process_that_was_killed_before_the_alias_leaves_no_second_version(
    home: tuple[Store, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, out = home

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            register_best("killed", "demo", out, store, EXPERIMENT)
    assert without_times(store)["killed"] == [("1", "joint/s0", [])]
    register_best("killed", "demo", out, store, EXPERIMENT)
    assert without_times(store)["killed"] == [("1", "joint/s0", ["best"])]


def test_what_is_not_in_the_store_is_told(home: tuple[Store, Path], tmp_path: Path) -> None:
    store, out = home
    with pytest.raises(InputError, match=r"^the encoder of the best run \(joint, seed 0\) is not in MLflow"):
        register_best("none", "demo", out, open_store(tmp_path / "other"), EXPERIMENT)
    untrained = RunSpec(policy="random", seed=0)
    row = {"run": untrained.id, "arm": "random", "seed": 0, "status": "finished", "spec": to_json(untrained)}
    record.add(tmp_path / "out", row | {"updates": 0, "final/valid_recon_mse": 0.01}, [], {})
    with pytest.raises(InputError, match="was trained and finished: there is nothing to register"):
        register_best("none", "demo", tmp_path / "out", store, EXPERIMENT)


def words(folder: Path, *more: str) -> list[str]:
    places = ["--out", str(folder / "out"), "--store", str(folder / "store")]
    return ["--smoke", "--arms", "joint", "--jobs", "1", *places, *HARDLY_CLASSIFIED, "--register", "mine", *more]


@pytest.mark.slow
@pytest.mark.usefixtures("no_page")
def test_a_study_registers_its_best_models_and_says_so_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise MlflowException("the store is tired")

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "register", fails)
        assert main(STUDY, words(tmp_path)) == 1
    told = "MLflow could not register 'mine' (the store is tired): give the same command again when MLflow works\n"
    assert told in capsys.readouterr().err
    line = "mine version 1 (joint, seed 0) and mine-classifier version 1 (joint, seed 0, 100 labels)\n"
    for _ in range(2):
        assert main(STUDY, words(tmp_path)) == 0
        assert f"Registered in MLflow with the alias 'best': {line}" in capsys.readouterr().out
    assert [len(those) for those in versions(open_store(tmp_path / "store")).values()] == [1, 1]


@pytest.mark.parametrize("how", ["scheme", "server"])
def test_a_store_without_a_registry_is_refused_before_training(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def not_found(*_: object, **__: object) -> None:
        raise MlflowException("failed with error code 404 != 200", error_code=ENDPOINT_NOT_FOUND)

    from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND

    if how == "scheme":
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", "foo://registry")
    else:
        monkeypatch.setattr(MlflowClient, "search_registered_models", not_found)
    assert main(STUDY, words(tmp_path)) == 2
    [said] = capsys.readouterr().err.strip().splitlines()
    assert said.endswith("the MLflow store local has no model registry: leave out --register, or use another store")
    assert not (tmp_path / "out" / "runs.csv").exists()


def test_an_outage_does_not_keep_a_study_from_training(
    home: tuple[Store, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> None:
        raise MlflowException("no answer")

    monkeypatch.setattr(MlflowClient, "search_registered_models", down)
    Registry(replace(home[0]), EXPERIMENT).check()
