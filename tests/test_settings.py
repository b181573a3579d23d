"""Keys with their defaults, bounds and smoke values, and variants of experiments by axes."""

import pytest
from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax import families
from gen_jax import settings as settings_lib
from gen_jax.errors import UserError
from gen_jax.settings import Setting

SECTION = {
    "size": Setting(4, "a size", minimum=1, maximum=9, smoke=2),
    "widths": Setting((8, 8), "of layers", minimum=2, smoke=lambda widths: widths[:1]),
    "names": Setting((), "of parts", element="", choices=("mean", "scale")),
    "inner": {"rate": Setting(0.5, "a rate", maximum=1)},
}


def config(**changes):
    made = settings_lib.defaults(SECTION)
    made.update(changes)
    return made


def test_defaults_and_smoke():
    made = config()
    assert made.to_dict() == {"size": 4, "widths": (8, 8), "names": (), "inner": {"rate": 0.5}}
    settings_lib.shrink(made, SECTION)
    assert made.to_dict() == {"size": 2, "widths": (8,), "names": (), "inner": {"rate": 0.5}}
    assert list(settings_lib.flat(SECTION)) == ["size", "widths", "names", "inner.rate"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, r"model.size=0 must be at least 1: --config.model.size=1"),
        ({"size": 10}, r"model.size=10 must be at most 9: --config.model.size=9"),
        ({"widths": (8, 1)}, r"model.widths=\(8, 1\) must be at least 2$"),
        ({"names": ("mean", "scal")}, r"unknown model.names 'scal'; did you mean scale\? valid"),
        ({"inner": ConfigDict({"rate": 2.0})}, r"model.inner.rate=2.0 must be at most 1"),
    ],
)
def test_bounds_and_choices(changes, message):
    settings_lib.check(config(), SECTION, "model.")
    with pytest.raises(UserError, match=message):
        settings_lib.check(config(**changes), SECTION, "model.")


@pytest.mark.parametrize(
    ("setting", "good", "bad"),
    [
        (Setting(1, ""), (0, 2**31 - 1), (True, 1.0, "1", -1, 2**31)),
        (Setting(1.0, ""), (0, 0.5, 3e38), (True, "1", -0.5, float("nan"), float("inf"), 10**400)),
        (Setting(True, ""), (True, False), (0, 1, None)),
        (Setting("a", ""), ("", "b" * 1_000), (1, "b" * 1_001, "a\nb")),
        (Setting((1, 2), ""), ((), (3,)), (3, [3], ("a",), (1,) * 101)),
        (Setting((), "", element=""), ((), ("a",)), ((1,), "a")),
        (Setting((), ""), ((), (("a", (1, 2)),)), ("a", 3)),
    ],
)
def test_types(setting, good, bad):
    assert [setting.type_problem(value) for value in good] == [""] * len(good)
    assert all(setting.type_problem(value) for value in bad)


def test_every_key_says_what_it_means():
    for name in families.names():
        for key, setting in settings_lib.flat(config_lib.sections(name)).items():
            assert len(setting.meaning) > 3 and "\n" not in setting.meaning, key
            assert setting.affects in ("training", "figures", "nothing"), key
            if key.startswith(("eval.", "sample.")):
                assert setting.affects != "training", key
            if setting.per_replica:
                assert key == "seed" or isinstance(setting.default, (float, tuple)), key


def test_what_makes_a_run_another_run():
    old, new = config_lib.default_config("vae"), config_lib.default_config("vae")
    new.update(log_every=7, trackers=())
    new.data.manual_dir = "/elsewhere"
    new.eval.importance_samples, new.sample.temperature = 5, 0.5
    assert config_lib.difference(old, new) == []
    new.optim.lr = 0.5
    assert config_lib.difference(old, new) == ["optim.lr: 0.001 -> 0.5"]


def test_variants_are_combinations_of_words():
    @config_lib.experiment(
        "vae",
        schedule={"": 10, "long": 99},
        data=("digits", "mnist"),
        layers={"": (), "2l": (3,)},
    )
    def get_config(config, schedule, data, layers):
        config.steps, config.data.name, config.model.upper_latent_dims = schedule, data, layers

    names = {f"{s}{d}{n}" for s in ("", "long_") for d in ("digits", "mnist") for n in ("", "_2l")}
    assert set(get_config.variants) == names and get_config.variants[0] == "digits"
    for argument, expected in (
        ("", (10, "digits", ())),
        ("mnist", (10, "mnist", ())),
        ("long_mnist_2l", (99, "mnist", (3,))),
    ):
        made = get_config(argument)
        assert (made.steps, made.data.name, made.model.upper_latent_dims) == expected
    smoke = get_config("mnist_2l,smoke")
    assert (smoke.steps, smoke.data.name, smoke.model.upper_latent_dims) == (20, "mnist", (3,))
    for wrong, message in (
        ("mnist_3l", "did you mean mnist_2l"),
        ("mnist,digits", "unknown config argument 'mnist,digits'"),
        ("2l_mnist", "unknown config argument '2l_mnist'"),
    ):
        with pytest.raises(UserError, match=message):
            get_config(wrong)


def test_two_variants_of_one_name_are_a_mistake():
    with pytest.raises(AssertionError, match="two variants are called 'a'"):
        config_lib.experiment("vae", one=("", "a"), other=("", "a"))
