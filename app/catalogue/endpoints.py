"""GET /methods, GET /networks."""

from functools import cache

from fastapi import APIRouter, Response

from app.catalogue.schemas import MethodOut, MethodsOut, NetworkOut, NetworksOut
from app.http.parsing import StrictRoute
from app.spec.methods import METHODS
from app.spec.networks import FAMILIES

router = APIRouter(tags=["catalogue"], route_class=StrictRoute)


@router.get(
    "/methods", operation_id="list_methods", summary="List methods", response_model=MethodsOut
)
async def list_methods() -> Response:
    """Each with its paper, its parameters' bounds and defaults, and how many teachers it takes."""
    return Response(_methods(), media_type="application/json")


@router.get(
    "/networks", operation_id="list_networks", summary="List networks", response_model=NetworksOut
)
async def list_networks() -> Response:
    """Each family with its fields' bounds and defaults, and how its tensors are named."""
    return Response(_networks(), media_type="application/json")


@cache
def _methods() -> str:
    entries = [MethodOut.of(name, method) for name, method in METHODS.items()]
    return MethodsOut(data=entries).model_dump_json(by_alias=True)


@cache
def _networks() -> str:
    entries = [NetworkOut.of(family, network) for family, network in FAMILIES.items()]
    return NetworksOut(data=entries).model_dump_json(by_alias=True)
