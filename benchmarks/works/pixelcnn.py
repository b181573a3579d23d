"""The gated PixelCNN of 28x28 binary images: a vertical and a horizontal stack of convolutions."""

from benchmarks.work import Runner, of_training

STEPS = 5  # of one time of the work
BATCH, FEATURES, FIRST, KERNEL = 32, 32, 7, 3
DILATIONS = (1, 2, 1, 4, 1, 2, 1)


def experiment():
    from benchmarks import training
    from gen_jax.data.spec import DataSpec

    return training.build(
        "autoregressive",
        DataSpec("binary", (28, 28, 1), levels=256, dynamic=True),
        batch_size=BATCH,
        steps_per_dispatch=STEPS,
        model__network="pixelcnn",
        model__features=FEATURES,
        model__dilations=DILATIONS,
        model__kernel=KERNEL,
        model__first_kernel=FIRST,
    )


def torch_network():
    """A plain rendering of the same two stacks, which fill up with zeros above and to the left."""
    import torch
    from torch import nn
    from torch.nn import functional

    def gate(h):
        a, b = h.chunk(2, 1)
        return torch.tanh(a) * torch.sigmoid(b)

    class Layer(nn.Module):
        def __init__(self, channels, kernel, dilation, skips):
            super().__init__()
            half, double = kernel // 2, 2 * FEATURES
            self.reach, self.skips = dilation * half, skips
            self.vertical = nn.Conv2d(channels, double, (half + 1, kernel), dilation=dilation)
            self.horizontal = nn.Conv2d(channels, double, (1, half + 1), dilation=dilation)
            self.between = nn.Conv2d(double, double, 1)
            self.out = nn.Conv2d(FEATURES, FEATURES, 1)

        def forward(self, vertical, horizontal):
            reach = self.reach
            v = self.vertical(functional.pad(vertical, (reach, reach, reach, 0)))
            h = self.horizontal(functional.pad(horizontal, (reach, 0))) + self.between(v)
            h = self.out(gate(h))
            return gate(v), h + horizontal if self.skips else h

    class PixelCNN(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [Layer(1, FIRST, 1, False)]
            layers += [Layer(FEATURES, KERNEL, dilation, True) for dilation in DILATIONS]
            self.layers = nn.ModuleList(layers)
            self.hidden = nn.Conv2d(FEATURES, FEATURES, 1)
            self.output = nn.Conv2d(FEATURES, 1, 1)

        def forward(self, x):
            vertical = functional.pad(x, (0, 0, 1, 0))[:, :, :-1]
            horizontal = functional.pad(x, (1, 0))[:, :, :, :-1]
            for layer in self.layers:
                vertical, horizontal = layer(vertical, horizontal)
            return self.output(functional.relu(self.hidden(functional.relu(horizontal))))

    return PixelCNN()


def _torch_runner(compiled: bool) -> Runner:
    """A straightforward training loop: images in memory, batches at random, Adam."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from benchmarks import pytorch, training

    pytorch.setup()
    network = torch_network().to(pytorch.device())
    data = pytorch.images(training.images((28, 28, 1)))

    def loss_of(x):
        return binary_cross_entropy_with_logits(network(x), x, reduction="sum") / len(x)

    def draw():
        return (torch.bernoulli(pytorch.choice(data, BATCH).float() / 255),)

    return pytorch.trainer(network.parameters(), loss_of, draw, STEPS, compiled)


WORKS = [of_training("pixelcnn", STEPS, experiment, _torch_runner)]
