"""Training the judge, without the augmentation of its images."""

from benchmarks.work import Runner, of_training

STEPS = 4  # of one time of the work
BATCH = 128


def experiment():
    from benchmarks import training
    from gen_jax.data.spec import DataSpec

    return training.build(
        "classifier",
        DataSpec("bytes", (28, 28, 1), levels=256, num_classes=10),
        batch_size=BATCH,
        steps_per_dispatch=STEPS,
        model__augmentations=(),
    )


def torch_network():
    """Images to the features of a judge, and these to its logits."""
    from torch import nn

    layers = []
    for before, width, stride in ((1, 32, 1), (32, 64, 2), (64, 64, 2)):
        layers += [nn.Conv2d(before, width, 3, stride, 1), nn.ReLU()]
    features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU())
    return features, nn.Sequential(nn.Dropout(0.5), nn.Linear(128, 10))


def _torch_runner(compiled: bool) -> Runner:
    import torch
    from torch import nn

    from benchmarks import pytorch, training

    pytorch.setup()
    network = nn.Sequential(*torch_network()).to(pytorch.device())
    data = pytorch.images(training.images((28, 28, 1)))
    labels = torch.arange(len(data), device=data.device) % 10

    def loss_of(x, label):
        return nn.functional.cross_entropy(network(x), label)

    def draw():
        index = torch.randint(len(data), (BATCH,), device=data.device)
        return data[index].float() / 127.5 - 1, labels[index]

    return pytorch.trainer(network.parameters(), loss_of, draw, STEPS, compiled)


WORKS = [of_training("judge", STEPS, experiment, _torch_runner)]
