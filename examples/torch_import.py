"""A torch module with ternary weights becomes a network of integers on a chip.

pip install 'neuromorph[train]'
python examples/torch_import.py
"""

import torch
from torch import nn

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.training import from_torch


class Ternary(nn.Module):
    """+1 above r, -1 below -r, else 0."""

    def __init__(self, r):
        super().__init__()
        self.r = r

    def forward(self, x):
        return (x > self.r).float() - (x < -self.r).float()


torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(8), Ternary(0.5),
    nn.Flatten(), nn.Linear(128, 10, bias=False),
)  # fmt: skip
for layer in (model[0], model[5]):  # as a training with ternary weights would leave them
    layer.weight.data = torch.randint(-1, 2, layer.weight.shape) * 0.125
images = torch.tensor(load_data("digits").test_images)
model(images.float())  # gives batch norm its statistics

network = from_torch(model, images, name="from-torch")
print(network)
print(network.meta["imported"])
run = nm.simulate(nm.map_network(network, nm.load_chip("gxnor45")), images.numpy())
with torch.no_grad():
    theirs = model.eval()(images.float()).argmax(1).numpy()
print("same classes:", bool((theirs == run.predictions).all()))
