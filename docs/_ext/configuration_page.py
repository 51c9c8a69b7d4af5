"""The reference of the configuration, made from the YAML files (``chemscale.config.options``)."""

from __future__ import annotations

from dataclasses import MISSING, fields

from chemscale.config.options import Key, Option, groups, option

GROUPS = {
    "task": "What kind of model is trained: its batch, its budget and its loss.",
    "model": "The architecture and its size.",
    "data": "What is learned from.",
    "optimizer": "How weights follow gradients.",
    "schedule": "The learning rate over the run.",
    "trainer": "How the training loop runs.",
    "strategy": "What several ranks share.",
    "launcher": "Where ranks run.",
    "site": "What your cluster wants of every job: files of your own in `~/.config/chemscale/site/`.",
    "logger": "Where metrics go beside `metrics.jsonl`; several at once as `logger=[wandb,tensorboard]`.",
    "sweep": "Lists of points: `+sweep=NAME`.",
    "recipe": "Published training settings: `+recipe=NAME`.",
}
HEAD = """\
# Configuration

Every key of `train` and `prepare`, made from the files in `conf/` and their comments.

- **Set a key** as `key=value` on the command line: `optimizer.lr=1e-3`. **Choose an option** of a group as
  `group=option`: `data=smiles`. Sweeps and recipes are added with a plus: `+sweep=chemgpt_sizes`. Several
  values make a sweep: `seed=0,1,2`.
- **The command line wins** over a sweep or recipe, that over an option, that over the defaults below.
- **A key that nothing reads is an error**, on the command line, in a sweep file or in a site profile, and the
  message names the nearest keys that there are. Two places are open: `site.extra`, and `variables` for values
  of your own that `${variables.NAME}` puts into a sweep file.
- **`???`** has no default and must be given. Types: `int`, `number`, `text`, `path`, `mapping`, or choices.
- **Options of your own** are files `group/NAME.yaml` in a folder that `--config-dir FOLDER` names; a line
  `defaults: [smiles]` at their head builds on one of ours.
"""


def page() -> str:
    """The whole page."""
    linked: set[str] = set()
    parts = [HEAD, "## Top level\n", _about(option("", "train")), _table(option("", "train"), linked)]
    parts += ["A command without a group takes these options:\n", _defaults()]
    missing = set(groups()) - set(GROUPS)
    assert not missing, f"docs/_ext/configuration_page.py lacks the groups {missing}"
    for group, about in GROUPS.items():
        parts += [f"## {group}\n", f"{about}\n"]
        for name in groups()[group]:
            parts += [
                _heading(option(group, name)),
                _about(option(group, name)),
                _table(option(group, name), linked),
            ]
    parts += [_sweeps(), "## prepare\n", _about(option("", "prepare")), _table(option("", "prepare"), linked)]
    return "\n".join(part for part in parts if part)


def _heading(o: Option) -> str:
    title = f"{o.group}={o.name}" if o.can_be_chosen else f"{o.group}: {o.name}, which others are built on"
    return f"(conf-{o.group}-{o.name})=\n### {title}\n"


def _about(o: Option) -> str:
    bases = [base for base in o.bases if base != "_self_"]
    built = " and ".join(f"[{base}](#conf-{o.group}-{base})" for base in bases)
    more = f" Built on {built}; only what differs is shown." if bases else ""
    return f"{o.about}{more}\n" if o.about or more else ""


def _table(o: Option, linked: set[str]) -> str:
    keys = [o.keys[name] for name in o.own if not name.endswith("._target_")]
    if not keys:
        return ""
    rows = [_row(key, linked) for key in keys]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def anchor(name: str) -> str:
    """What links to a key lead to."""
    return f"key-{name}".replace(".", "-").replace("_", "-")


def _row(key: Key, linked: set[str]) -> str:
    name = f"`{key.name}`"
    if key.name not in linked:  # what links to a key leads to where it is first explained
        name = f"[{name}]{{#{anchor(key.name)}}}"
        linked.add(key.name)
    meaning = key.meaning.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("$", "\\$")
    kind = " \\| ".join(f"`{word}`" for word in key.kind.split(" | ")) if key.kind else ""
    return f"| {name} | {kind} | `{key.default}` | {meaning} |"


def _defaults() -> str:
    import yaml

    from chemscale.common.paths import CONFIG_DIRECTORY

    listed = yaml.safe_load((CONFIG_DIRECTORY / "train.yaml").read_text())["defaults"]
    pairs = [(k, v) for item in listed if isinstance(item, dict) for k, v in item.items() if " " not in k]
    return ", ".join(f"[`{k}={v}`](#conf-{k}-{v})" for k, v in pairs) + ".\n"


def _sweeps() -> str:
    """Keys of the sweepers, from their classes."""
    from hydra_plugins.chemscale_sweeper import (
        ChemscaleActiveLearningSweeperConf,
        ChemscaleEstimatingSweeperConf,
        ChemscaleSweeperConf,
    )

    lines = [
        "## hydra.sweeper\n",
        "What a sweep file of your own sets, after `override /hydra/sweeper: chemscale` (or",
        "`chemscale_early_stopping`, which also has the rule, or `chemscale_active_learning`, which makes",
        "its own points) in its defaults and `hydra.mode: MULTIRUN`.\n",
        "| key | of | default | meaning |",
        "|---|---|---|---|",
    ]
    common = {field.name for field in fields(ChemscaleSweeperConf)}
    rounds = [field for field in fields(ChemscaleActiveLearningSweeperConf) if field.name not in common]
    for field in (*fields(ChemscaleEstimatingSweeperConf), *rounds):
        meanings = field.metadata.get("meaning")
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        own = "`chemscale_active_learning`" if field in rounds else "`chemscale_early_stopping`"
        of = "all" if field.name in common else own
        rows = [(field.name, default, meanings)]
        if isinstance(meanings, dict):
            rows = [(f"{field.name}.{key}", default[key], meaning) for key, meaning in meanings.items()]
        for name, value, meaning in rows if meanings else []:
            key = f"hydra.sweeper.{name}"
            lines.append(f"| [`{key}`]{{#{anchor(key)}}} | {of} | `{value}` | {meaning} |")
    return "\n".join([*lines, ""])
