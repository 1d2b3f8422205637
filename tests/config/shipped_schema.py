"""What judges configs by the schema that ships; made once, as that takes longer than a hundred configs."""

from functools import cache

import jsonschema

from pfa_gate.config.schema import schema


@cache
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())
