"""A small Real NVP of 28x28 images: couplings on a chess board, then by channels on two scales."""

from benchmarks.work import Runner, of_sampling, of_training

STEPS = 5  # of one time of the training
SAMPLES = 100  # of one time of the sampling
BATCH, FEATURES, CONVOLUTIONS = 32, 32, 2
CHECKER_LAYERS, CHANNEL_LAYERS = 1, (2, 2)
ALPHA, SCALE_LIMIT = 1e-5, 3.0


def experiment():
    from benchmarks import training
    from gen_jax.data.spec import DataSpec

    return training.build(
        "flow",
        DataSpec("real", (28, 28, 1), levels=256),
        batch_size=BATCH,
        steps_per_dispatch=STEPS,
        model__flow="multiscale",
        model__mixing="none",
        model__alpha=ALPHA,
        model__scale_limit=SCALE_LIMIT,
        model__features=FEATURES,
        model__convolutions=CONVOLUTIONS,
        model__checker_layers=CHECKER_LAYERS,
        model__channel_layers=CHANNEL_LAYERS,
    )


def torch_network():
    """A plain rendering: modules with `forward(x)` to y and ln |det|, and `inverse(y)`."""
    import torch
    from torch import nn
    from torch.nn import functional

    def concat_elu(h):
        return functional.elu(torch.cat([h, -h], 1))

    class Network(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.first = nn.Conv2d(channels, FEATURES, 3, padding=1)
            self.inner = nn.ModuleList(
                nn.Conv2d(2 * FEATURES, FEATURES, 3, padding=1) for _ in range(CONVOLUTIONS)
            )
            self.gates = nn.ModuleList(
                nn.Conv2d(2 * FEATURES, 2 * FEATURES, 1) for _ in range(CONVOLUTIONS)
            )
            self.norms = nn.ModuleList(nn.LayerNorm(FEATURES) for _ in range(CONVOLUTIONS))
            self.last = nn.Conv2d(2 * FEATURES, 2 * channels, 3, padding=1)
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

        def forward(self, x):
            h = self.first(x)
            for inner, gate, norm in zip(self.inner, self.gates, self.norms, strict=True):
                both = gate(concat_elu(inner(concat_elu(h))))
                value, opened = both.chunk(2, 1)
                h = h + value * torch.sigmoid(opened)
                h = norm(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            return self.last(concat_elu(h)).chunk(2, 1)

    class Coupling(nn.Module):
        def __init__(self, channels, stays):
            super().__init__()
            self.network = Network(channels)
            self.register_buffer("stays", stays)

        def _maps(self, x):
            shift, scale = self.network(x * self.stays)
            moves = 1 - self.stays
            return shift * moves, SCALE_LIMIT * torch.tanh(scale / SCALE_LIMIT) * moves

        def forward(self, x):
            shift, log_scale = self._maps(x)
            return x * log_scale.exp() + shift, log_scale.flatten(1).sum(1)

        def inverse(self, y):
            shift, log_scale = self._maps(y)
            return (y - shift) * (-log_scale).exp()

    class ActNorm(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
            self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))

        def forward(self, x):
            pixels = x.shape[2] * x.shape[3]
            log_det = pixels * self.log_scale.sum().expand(len(x))
            return (x + self.bias) * self.log_scale.exp(), log_det

        def inverse(self, y):
            return y * (-self.log_scale).exp() - self.bias

    def layers(channels, count, masks):
        return nn.ModuleList(
            layer
            for _ in range(count)
            for layer in (ActNorm(channels), *(Coupling(channels, mask) for mask in masks))
        )

    class RealNVP(nn.Module):
        def __init__(self):
            super().__init__()
            place = torch.arange(28)
            board = ((place[:, None] + place) % 2).float()[None]
            self.checker = layers(1, CHECKER_LAYERS, (board, 1 - board))
            self.scales = nn.ModuleList()
            channels = 1
            for count in CHANNEL_LAYERS:
                channels *= 4
                half = (torch.arange(channels) < channels // 2).float()[:, None, None]
                self.scales.append(layers(channels, count, (half, 1 - half)))
                channels //= 2

        def forward(self, x):
            """x [B, 1, 28, 28] in [0, 1) -> ln p(x) [B]."""
            inner = ALPHA + (1 - 2 * ALPHA) * x
            change = torch.log(inner) + torch.log1p(-inner)
            h, total = torch.logit(inner), -change.flatten(1).sum(1)
            latents = []
            for layer in self.checker:
                h, log_det = layer(h)
                total = total + log_det
            for number, scale in enumerate(self.scales):
                h = functional.pixel_unshuffle(h, 2)
                for layer in scale:
                    h, log_det = layer(h)
                    total = total + log_det
                if number + 1 < len(self.scales):
                    done, h = h.chunk(2, 1)
                    latents.append(done)
            for z in (*latents, h):
                total = total - 0.5 * (z**2).flatten(1).sum(1)
            return total

        @torch.no_grad()
        def sample(self, num, device):
            h = torch.randn(num, 8, 7, 7, device=device)
            for number, scale in reversed(list(enumerate(self.scales))):
                if number + 1 < len(self.scales):
                    h = torch.cat([torch.randn_like(h), h], 1)
                for layer in reversed(scale):
                    h = layer.inverse(h)
                h = functional.pixel_shuffle(h, 2)
            for layer in reversed(self.checker):
                h = layer.inverse(h)
            return (torch.sigmoid(h) - ALPHA) / (1 - 2 * ALPHA)

    return RealNVP()


def _torch_runner(compiled: bool) -> Runner:
    """A straightforward training loop: images in memory, batches at random, Adam."""
    import torch

    from benchmarks import pytorch, training

    pytorch.setup()
    network = torch_network().to(pytorch.device())
    data = pytorch.images(training.images((28, 28, 1)))

    def loss_of(x):
        return -network(x).mean() / 784

    def draw():
        x = pytorch.choice(data, BATCH).float()
        return ((x + torch.rand_like(x)) / 256,)

    return pytorch.trainer(network.parameters(), loss_of, draw, STEPS, compiled)


WORKS = [
    of_training("realnvp", STEPS, experiment, _torch_runner),
    of_sampling("realnvp_samples", f"{SAMPLES} samples", SAMPLES, experiment, torch_network),
]
