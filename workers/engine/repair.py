"""Class-bias repair for classes that the transfer set never showed.

Hinton, Vinyals and Dean 2015, section 3: without any 3 in the transfer set most errors of the
student are on threes, and raising one bias mends it. The paper chose the bias on the test set; here
it is chosen on validation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def best_bias(logits_NC: Tensor, labels_N: Tensor, classes: Sequence[int]) -> float:
    """The constant that, added to the logits of `classes`, gets most of the N labels right.

    An example's prediction changes only where the constant passes the gap between its best logit
    inside and its best logit outside of `classes`; accuracy is therefore a step function, and the
    middle of its highest step nearest to zero is returned. Zero when nothing can be gained.
    """
    inside = torch.zeros(logits_NC.shape[1], dtype=torch.bool, device=logits_NC.device)
    inside[list(classes)] = True
    logits = logits_NC.double()
    best_in, class_in = logits.masked_fill(~inside, -torch.inf).max(dim=1)
    best_out, class_out = logits.masked_fill(inside, -torch.inf).max(dim=1)
    gaps, order = (best_out - best_in).sort()  # above the gap, the inside class wins
    gain = (class_in == labels_N).long() - (class_out == labels_N).long()
    never = (class_out == labels_N).sum()[None]
    right = torch.cat([never, never + gain[order].cumsum(dim=0)])
    # Step k lies between gap k - 1 and gap k; between equal gaps there is none.
    starts = torch.cat([gaps[:1] - 2.0, gaps])
    ends = torch.cat([gaps, gaps[-1:] + 2.0])
    right = right.masked_fill(ends - starts < 1e-9, -1)
    middles = (starts + ends) / 2
    unchanged = int((logits.argmax(dim=1) == labels_N).sum())
    if int(right.max()) <= unchanged:
        return 0.0
    highest = middles[right == right.max()]
    return float(highest[highest.abs().argmin()])


def apply_bias(classifier: torch.nn.Linear, classes: Sequence[int], bias: float) -> None:
    """Adds the constant to the output biases of `classes`, in place."""
    with torch.no_grad():
        classifier.bias[list(classes)] += bias
