"""A check of schemathesis, sharpened: what fits the schema is accepted, unless it is refused for what it means."""

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

# Refusals that depend on the tenant's log, on earlier requests or on a list of passwords: no schema can say them.
# NUL in the names of free-form metadata can't be said either; the document's introduction does.
BY_MEANING = {"seq_not_in_log", "cursor_mismatch", "idempotency_key_reused", "version_mismatch", "nul_character"}


def refused_for_its_meaning(response):
    if response.headers.get("content-type") != ["application/problem+json"]:
        return False
    problem = response.json()
    errors = problem.get("errors", [])
    return problem["code"] in BY_MEANING or (bool(errors) and all(cannot_be_said(error) for error in errors))


def cannot_be_said(error):
    # JSON Schema takes 3.0 for a whole number; the introduction says that it is written 3.
    fraction = error["detail"].startswith("invalid type: floating point") and ".0`, expected " in error["detail"]
    # What is too long ago depends on the clock.
    by_the_clock = error["detail"].startswith("must be at most 35 days ago")
    return error["code"].startswith("password_") or fraction or by_the_clock


@schemathesis.check
def what_fits_the_schema_is_accepted(ctx, response, case):
    if not refused_for_its_meaning(response):
        return positive_data_acceptance(ctx, response, case)
    return None
