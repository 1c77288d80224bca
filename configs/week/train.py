"""A plain PyTorch script: one hidden layer on the digits of scikit-learn."""

import argparse
import json

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--hidden", type=int, default=32)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()

torch.manual_seed(arguments.seed)
digits = load_digits()
split = train_test_split(digits.data / 16, digits.target, random_state=arguments.seed)
x, x_test = (torch.tensor(each, dtype=torch.float32) for each in split[:2])
y, y_test = (torch.tensor(each) for each in split[2:])

hidden = torch.nn.Sequential(torch.nn.Linear(64, arguments.hidden), torch.nn.ReLU())
model = torch.nn.Sequential(hidden, torch.nn.Linear(arguments.hidden, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=arguments.lr, momentum=0.9)
for epoch in range(arguments.epochs):
    loss = torch.nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"epoch {epoch} loss {loss.item():.4f}")

with torch.no_grad():
    units = hidden(x)
    spread = (units[:, None] - units[None]).abs().mean().item()  # every pair at once
    accuracy = (model(x).argmax(1) == y).float().mean().item()
print(json.dumps({"accuracy": accuracy, "loss": loss.item(), "spread": spread}))
