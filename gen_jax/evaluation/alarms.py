"""Says in one plain line when figures mean collapse (of either kind), overfitting, divergence."""

from collections.abc import Callable, Mapping

# A generator that covers fewer than this part of what a perfect sampler covers has collapsed.
COVERED = 0.9
# Recall falls with sharpness too: only a small part of the floor is taken for collapse.
RECALLED = 0.25
OVERFITTED = 0.5  # r_v: half way from training data to generated ones
SATURATED = 0.5
INFORMED = 0.1  # nats: latents of a lower rate tell nothing of the data


_AGAINST_COLLAPSE = (
    "of a GAN, try --config.model.penalty=r1_r2 with a larger model.penalty_weight, "
    "--config.model.loss=relativistic or, without labels, --config.model.pack=2"
)


def _modes(row: Mapping[str, float]) -> str | None:
    if row["modes"] >= COVERED * row["modes_floor"]:
        return None
    return (
        f"collapse: samples cover {row['modes']:.4g} modes, where a perfect sampler covers "
        f"{row['modes_floor']:.4g}; {_AGAINST_COLLAPSE}"
    )


def _recall(row: Mapping[str, float]) -> str | None:
    if row["recall"] >= RECALLED * row["recall_floor"]:
        return None
    return (
        f"collapse: recall is {row['recall']:.3f}, where other real data have "
        f"{row['recall_floor']:.3f}; {_AGAINST_COLLAPSE}"
    )


def _overfitting(row: Mapping[str, float]) -> str | None:
    if row["overfitting"] <= OVERFITTED:
        return None
    return (
        "overfitting: the discriminator gives held-out data logits "
        f"{row['overfitting']:.0%} of the way from training data to samples; try "
        "--config.model.augmentations=\"('translation',)\" or a larger model.penalty_weight"
    )


def _saturated(row: Mapping[str, float]) -> str | None:
    if row["saturated"] <= SATURATED:
        return None
    return (
        f"divergence: from {row['saturated']:.0%} of its samples the generator learns nothing, as "
        "its loss is flat there; try --config.model.penalty=r1_r2, another model.loss or a lower "
        "optim.lr"
    )


def _rate(row: Mapping[str, float]) -> str | None:
    if row["rate"] >= INFORMED:
        return None
    return (
        f"posterior collapse: the rate is {row['rate']:.3f} nats, so the latents tell nothing of "
        "the data; try --config.model.beta_warmup_steps, a lower model.beta or, of one layer with "
        "a standard normal prior, --config.model.regularizer=free_bits --config.model.target=0.1"
    )


def _top_rate(row: Mapping[str, float]) -> str | None:
    layers = sum(name.startswith("rate/layer_") for name in row)
    rate = row[f"rate/layer_{layers}"]
    if rate >= INFORMED or row["rate"] < INFORMED:
        return None
    return (
        f"posterior collapse: the rate of the topmost of {layers} layers is {rate:.3f} nats, so it "
        "tells nothing of the data; try --config.model.beta_warmup_steps or fewer layers"
    )


# What a rule reads -> the rule.
RULES: dict[tuple[str, ...], Callable[[Mapping[str, float]], str | None]] = {
    ("modes", "modes_floor"): _modes,
    ("recall", "recall_floor"): _recall,
    ("overfitting",): _overfitting,
    ("saturated",): _saturated,
    ("rate",): _rate,
    ("rate", "rate/layer_2"): _top_rate,
}


def find_alarms(row: Mapping[str, float]) -> list[str]:
    """Lines for a run's newest figures: what is wrong, the evidence, and what to try.

    Args:
      row: metrics by name, as a run logs them: training metrics plain, held-out ones after
        "validation/", those of single replicas with "/replica_0" and so on at the end.
    """
    lines: dict[str, list[str]] = {}
    for replica, figures in _by_replica(row).items():
        for names, rule in RULES.items():
            line = rule(figures) if all(name in figures for name in names) else None
            if line:
                lines.setdefault(line, []).append(replica)
    return [
        line if replicas == [""] else f"replica {', '.join(replicas)}: {line}"
        for line, replicas in lines.items()
    ]


def _by_replica(row: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Names as rules know them, of each replica; one entry "" for a run without replicas."""
    runs: dict[str, dict[str, float]] = {}
    for name, value in row.items():
        base, _, replica = name.removeprefix("validation/").partition("/replica_")
        runs.setdefault(replica, {})[base] = value
    # The mean over replicas may hide one of them.
    return {r: figures for r, figures in runs.items() if r or len(runs) == 1}
