"""nanoGPT's recipe for CPUs: a causal transformer over windows of 64 characters."""

from benchmarks.work import Runner, of_sampling, of_training

STEPS = 20  # of one time of the training
SAMPLES = 32  # of one time of the sampling
VOCABULARY, WINDOW, BATCH = 65, 64, 12
LAYERS, HEADS, FEATURES = 4, 4, 128


def experiment():
    from benchmarks import training
    from gen_jax.data.spec import DataSpec

    # A window has the character before it too, which is what its first one follows.
    return training.build(
        "autoregressive",
        DataSpec(
            "tokens", (WINDOW + 1,), vocabulary=tuple(map(chr, range(VOCABULARY))), medium="text"
        ),
        batch_size=BATCH,
        steps_per_dispatch=STEPS,
        model__network="transformer",
        model__likelihood="categorical",
        model__features=FEATURES,
        model__layers=LAYERS,
        model__heads=HEADS,
        optim__b2=0.99,
        optim__weight_decay=0.1,
        optim__clip_norm=1.0,
        optim__schedule="cosine",
    )


def torch_network():
    """A plain rendering of the recipe of karpathy/nanoGPT: no biases, tied embeddings."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm_1 = nn.LayerNorm(FEATURES, bias=False)
            self.norm_2 = nn.LayerNorm(FEATURES, bias=False)
            self.inputs = nn.Linear(FEATURES, 3 * FEATURES, bias=False)
            self.outputs = nn.Linear(FEATURES, FEATURES, bias=False)
            self.up = nn.Linear(FEATURES, 4 * FEATURES, bias=False)
            self.down = nn.Linear(4 * FEATURES, FEATURES, bias=False)

        def forward(self, h):
            q, k, v = (
                part.unflatten(2, (HEADS, -1)).transpose(1, 2)
                for part in self.inputs(self.norm_1(h)).chunk(3, 2)
            )
            read = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            h = h + self.outputs(read.transpose(1, 2).flatten(2))
            return h + self.down(functional.gelu(self.up(self.norm_2(h))))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.symbols = nn.Embedding(VOCABULARY, FEATURES)
            self.places = nn.Embedding(WINDOW, FEATURES)
            self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
            self.norm = nn.LayerNorm(FEATURES, bias=False)

        def forward(self, x):
            place = torch.arange(x.shape[1], device=x.device)
            h = self.norm(self.blocks(self.symbols(x) + self.places(place)))
            return h @ self.symbols.weight.T

        @torch.no_grad()
        def sample(self, num, device):
            """[num, WINDOW], symbol after symbol: keys and values of those before are kept."""
            size = (num, HEADS, WINDOW, FEATURES // HEADS)
            memory = [[torch.zeros(size, device=device) for _ in "kv"] for _ in self.blocks]
            x = torch.zeros((num, WINDOW + 1), dtype=torch.long, device=device)
            for place in range(WINDOW):
                h = self.symbols(x[:, place : place + 1]) + self.places.weight[place]
                for block, (keys, values) in zip(self.blocks, memory, strict=True):
                    q, k, v = (
                        part.unflatten(2, (HEADS, -1)).transpose(1, 2)
                        for part in block.inputs(block.norm_1(h)).chunk(3, 2)
                    )
                    keys[:, :, place], values[:, :, place] = k[:, :, 0], v[:, :, 0]
                    read = functional.scaled_dot_product_attention(
                        q, keys[:, :, : place + 1], values[:, :, : place + 1]
                    )
                    h = h + block.outputs(read.transpose(1, 2).flatten(2))
                    h = h + block.down(functional.gelu(block.up(block.norm_2(h))))
                logits = self.norm(h)[:, 0] @ self.symbols.weight.T
                x[:, place + 1] = torch.multinomial(logits.softmax(1), 1)[:, 0]
            return x[:, 1:]

    return GPT()


def _torch_runner(compiled: bool) -> Runner:
    """A straightforward training loop: text in memory, windows at random, AdamW, clipping."""
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks import pytorch

    pytorch.setup()
    network = torch_network().to(pytorch.device())
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2_000)
    text = torch.randint(VOCABULARY, (1_000_000,), device=pytorch.device())
    places = torch.arange(WINDOW + 1, device=text.device)

    def loss_of(x):
        logits = network(x[:, :-1])
        return cross_entropy(logits.flatten(0, 1), x[:, 1:].flatten())

    if compiled:
        loss_of = pytorch.compiled(loss_of)

    def step():
        start = torch.randint(len(text) - WINDOW, (BATCH, 1), device=text.device)
        optimizer.zero_grad(set_to_none=True)
        loss_of(text[start + places]).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()

    return pytorch.repeated(step, STEPS)


_TEXTS = f"{SAMPLES} texts of {WINDOW} characters"

WORKS = [
    of_training("char_transformer", STEPS, experiment, _torch_runner),
    of_sampling("char_transformer_samples", _TEXTS, SAMPLES, experiment, torch_network),
]
