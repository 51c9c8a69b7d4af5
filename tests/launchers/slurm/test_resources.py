"""Resources of a point under SLURM, and profiles of clusters."""

import pytest
import yaml

from chemscale.common.paths import own_folder, site_folders
from chemscale.common.sections import ConfigurationError
from chemscale.launchers.slurm.resources import Site, SlurmResources
from tests.helpers.launch import config, job


def test_points_that_differ_in_the_limit_of_starts_share_an_array():
    asked = job().config["launcher"]
    assert SlurmResources.of(job()) == SlurmResources.of(job(launcher={**asked, "max_attempts": 3}))
    assert SlurmResources.of(job()) != SlurmResources.of(job(launcher={**asked, "minutes": 61}))
    assert SlurmResources.of(job()).with_gpus


def test_a_site_profile_is_found_among_ours_and_in_the_users_own_folder(tmp_path, monkeypatch):
    assert Site.of(config()).partition is None
    assert Site.of(config("site=loopback")).partition == "main"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine.yaml").write_text(
        "defaults: [none]\npartition: gpu\naccount: 1234\nmodules:\nextra: {exclusive: true}\n"
    )
    monkeypatch.setenv("CHEMSCALE_CONFIG", str(tmp_path))
    assert site_folders() == [tmp_path, own_folder()]
    mine = Site.of(config("site=mine"))
    assert (mine.partition, mine.account, mine.extra) == ("gpu", 1234, {"exclusive": True})
    assert mine.modules == ()


def test_every_profile_of_ours_has_the_keys_that_a_profile_has(monkeypatch):
    monkeypatch.setenv("CHEMSCALE_IMAGE", "/images/chemscale.sif")
    known = set(yaml.safe_load((own_folder() / "site" / "none.yaml").read_text()))
    for path in (own_folder() / "site").glob("*.yaml"):
        assert set(yaml.safe_load(path.read_text())) - {"defaults"} <= known
        Site.of(config(f"site={path.stem}"))


def test_what_a_profile_cannot_hold_is_refused_by_its_key():
    with pytest.raises(ConfigurationError, match=r"site\.walltime.*site\.extra"):
        Site.of({"site": {"walltime": 3}})
    with pytest.raises(ConfigurationError, match=r"site\.modules='cuda': give a list"):
        Site.of({"site": {"modules": "cuda"}})
