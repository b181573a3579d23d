"""A small U-Net that says what noise was added to 28x28 images, over squares of 2x2 pixels."""

from benchmarks.work import Runner, of_training

STEPS = 5  # of one time of the work
BATCH, FEATURES, HEADS, PATCH = 32, 48, 4, 2
WIDE = 2 * FEATURES  # at half the size
GIVEN, WAVES = 4 * FEATURES, 64  # widths of what is said of the noise level


def experiment():
    from benchmarks import training
    from gen_jax.data.spec import DataSpec

    return training.build(
        "diffusion",
        DataSpec("real", (28, 28, 1), levels=256),
        batch_size=BATCH,
        steps_per_dispatch=STEPS,
        model__features=FEATURES,
        model__multipliers=(1, 2),
        model__heads=HEADS,
        model__patch=PATCH,
    )


def torch_network():
    """A plain rendering of the same U-Net."""
    import torch
    from torch import nn
    from torch.nn import functional

    def convolution(channels, features, zero=False, **options):
        layer = nn.Conv2d(channels, features, 3, padding=1, **options)
        if zero:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        return layer

    def norm(channels):
        return nn.GroupNorm(channels // 8, channels)

    class Residual(nn.Module):
        def __init__(self, channels, features):
            super().__init__()
            self.norm_1, self.norm_2 = norm(channels), norm(features)
            self.conv_1 = convolution(channels, features)
            self.conv_2 = convolution(features, features, zero=True)
            self.given = nn.Linear(GIVEN, 2 * features)
            same = channels == features
            self.shortcut = nn.Identity() if same else nn.Conv2d(channels, features, 1)

        def forward(self, h, given):
            inner = self.conv_1(functional.silu(self.norm_1(h)))
            scale, shift = self.given(functional.silu(given))[:, :, None, None].chunk(2, 1)
            inner = functional.silu(self.norm_2(inner) * (1 + scale) + shift)
            return self.shortcut(h) + self.conv_2(inner)

    class Attention(nn.Module):
        def __init__(self, features):
            super().__init__()
            self.norm = norm(features)
            self.inputs = nn.Linear(features, 3 * features, bias=False)
            self.outputs = nn.Linear(features, features, bias=False)

        def forward(self, h):
            flat = self.norm(h).flatten(2).transpose(1, 2)
            q, k, v = (
                part.unflatten(2, (HEADS, -1)).transpose(1, 2)
                for part in self.inputs(flat).chunk(3, 2)
            )
            read = functional.scaled_dot_product_attention(q, k, v)
            read = self.outputs(read.transpose(1, 2).flatten(2))
            return h + read.transpose(1, 2).unflatten(2, h.shape[2:])

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.waves = nn.Linear(WAVES, GIVEN)
            self.given = nn.Linear(GIVEN, GIVEN)
            self.first = convolution(PATCH**2, FEATURES)
            self.down = Residual(FEATURES, FEATURES)
            self.halve = convolution(FEATURES, FEATURES, stride=2)
            self.down_wide = Residual(FEATURES, WIDE)
            self.attention = Attention(WIDE)
            self.middle = Residual(WIDE, WIDE)
            self.up_wide = Residual(2 * WIDE, WIDE)
            self.up_wide_2 = Residual(WIDE + FEATURES, WIDE)
            self.enlarge = convolution(WIDE, WIDE)
            self.up = Residual(WIDE + FEATURES, FEATURES)
            self.up_2 = Residual(2 * FEATURES, FEATURES)
            self.norm = norm(FEATURES)
            self.last = convolution(FEATURES, PATCH**2, zero=True)
            rates = 4.0 * 1e-3 ** (torch.arange(WAVES // 2) / (WAVES // 2))
            self.register_buffer("rates", rates)

        def forward(self, z, log_snr):
            angle = log_snr[:, None] * self.rates
            given = self.waves(torch.cat([angle.sin(), angle.cos()], 1))
            given = self.given(functional.silu(given))
            first = self.first(functional.pixel_unshuffle(z, PATCH))
            fine = self.down(first, given)
            halved = self.halve(fine)
            coarse = self.down_wide(halved, given)
            h = self.middle(self.attention(coarse), given)
            h = self.up_wide(torch.cat([h, coarse], 1), given)
            h = self.up_wide_2(torch.cat([h, halved], 1), given)
            h = self.enlarge(functional.interpolate(h, scale_factor=2))
            h = self.up(torch.cat([h, fine], 1), given)
            h = self.up_2(torch.cat([h, first], 1), given)
            return functional.pixel_shuffle(self.last(functional.silu(self.norm(h))), PATCH)

    return UNet()


def _torch_runner(compiled: bool) -> Runner:
    """A straightforward training loop: images in memory, batches at random, Adam."""
    import math

    import torch

    from benchmarks import pytorch, training

    pytorch.setup()
    network = torch_network().to(pytorch.device())
    data = pytorch.images(training.images((28, 28, 1)))

    def loss_of(x, t, noise):
        angle = math.pi / 2 * t[:, None, None, None]
        alpha, sigma = angle.cos(), angle.sin()
        said = network(alpha * x + sigma * noise, -2 * torch.log(torch.tan(math.pi / 2 * t)))
        return (said - (alpha * noise - sigma * x)).square().mean()

    def draw():
        x = pytorch.choice(data, BATCH).float()
        x = (x + torch.rand_like(x)) / 128 - 1
        t = 0.001 + 0.998 * torch.rand(BATCH, device=x.device)
        return x, t, torch.randn_like(x)

    return pytorch.trainer(network.parameters(), loss_of, draw, STEPS, compiled)


WORKS = [of_training("unet", STEPS, experiment, _torch_runner)]
