"""Two checks of schemathesis, sharpened: what fits the schema is accepted, unless it is refused for what it means; what
does not fit is refused, whole or as the item of a batch that it is."""

import schemathesis
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

# Refusals that depend on the tenant's log, on earlier requests or on a list of passwords: no schema can say them.
# NUL in the names of free-form metadata can't be said either; the document's introduction does.
BY_MEANING = {"seq_not_in_log", "cursor_mismatch", "idempotency_key_reused", "version_mismatch", "nul_character"}


# A range of time has its edges on quarters of an hour, is not empty, lies where costs may be and has not too many parts; a
# time zone is one of the IANA database's; nothing is named twice; a change changes something, and null is left out.
RANGES = {"not_on_a_quarter", "empty_range", "out_of_range", "too_many_rows", "unknown_time_zone", "repeated",
          "nothing_to_change", "invalid_url"}


def refused_for_its_meaning(response):
    if response.headers.get("content-type") != ["application/problem+json"]:
        return False
    problem = response.json()
    errors = problem.get("errors", [])
    return problem["code"] in BY_MEANING or (bool(errors) and all(cannot_be_said(error) for error in errors))


def cannot_be_said(error):
    if error["code"] in RANGES:
        return True
    # JSON Schema takes 3.0 for a whole number; the introduction says that it is written 3.
    fraction = error["detail"].startswith("invalid type: floating point") and ".0`, expected " in error["detail"]
    return error["code"].startswith("password_") or fraction or about_cost(error)


# A cost occurred lately, its usage is in lines that don't overlap, and a message's cost is of that message.
RULES_OF_COSTS = (
    "must be at most 35 days ago",
    "must be a month of the years 2000 to 2199",
    "another line has the same type and unit",
    "name the unit of this type",
    "must be tokens for this type",
    "must be seconds for this type",
    "must be characters for this type",
    "must be images for this type",
    "must be requests for this type",
    "by the inclusive convention",
)


def about_cost(error):
    of_another = error["detail"].endswith(" for this message, or left out")
    return error["detail"].startswith(RULES_OF_COSTS) or of_another or error["code"] == "id_taken"


@schemathesis.check
def what_fits_the_schema_is_accepted(ctx, response, case):
    if not refused_for_its_meaning(response):
        return positive_data_acceptance(ctx, response, case)
    return None


@schemathesis.check
def what_does_not_fit_is_refused(ctx, response, case):
    if case.path == "/v1/costs/batch" and response.status_code == 200:
        if any(result["status"] == "rejected" for result in response.json()["results"]):
            return None
    return negative_data_rejection(ctx, response, case)
