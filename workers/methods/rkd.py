"""Park, Kim, Lu and Cho 2019, "Relational knowledge distillation", 1904.05068."""

from torch import Tensor

from app.spec.methods import RKD
from workers.engine.bench import Bench
from workers.engine.feature_losses import rkd_angle_loss, rkd_distance_loss
from workers.engine.stages import Plan, Terms
from workers.engine.taps import Features
from workers.methods.featured import joined
from workers.methods.registry import plan


@plan.register
def rkd(method: RKD, bench: Bench) -> Plan:
    """One stage: CE + w_d Huber(relative distances) + w_a Huber(cosines of triplets)."""

    def term(theirs: Features, own: Features, *_: object) -> tuple[Tensor, Terms]:
        t, s = theirs[0].flatten(1), own[0].flatten(1)
        terms: Terms = {}
        if method.distance_weight > 0:
            terms["distance_loss"] = rkd_distance_loss(t, s)
        if method.angle_weight > 0:
            terms["angle_loss"] = rkd_angle_loss(t, s)
        weights = {"distance_loss": method.distance_weight, "angle_loss": method.angle_weight}
        loss = sum((weights[name] * value for name, value in terms.items()), t.new_zeros(()))
        return loss, terms

    student = bench.student()
    return (yield joined(bench, student, bench.transfer(), method, term))
