"""Validates the document of a service, and says what it describes."""

import json
import sys
import urllib.request

from openapi_spec_validator import OpenAPIV31SpecValidator

document = json.load(urllib.request.urlopen(sys.argv[1], timeout=30))
OpenAPIV31SpecValidator(document).validate()

paths = document["paths"]
operations = [path[method] for path in paths.values() for method in path]
find = paths["/shop/Shop.Find"]["get"]
asked = ", ".join(sorted(parameter["name"] for parameter in find["parameters"]))
item = document["components"]["schemas"]["Item"]
assert item["properties"]["parts"]["items"]["$ref"] == "#/components/schemas/Item", item
place = paths["/shop/Shop.Place"]["post"]["requestBody"]["content"]["application/json"]
assert place["schema"] == {"$ref": "#/components/schemas/Item"}, place
assert place["example"]["name"] == "chair", place
nested = [parameter["name"] for parameter in find["parameters"] if "content" in parameter]
assert nested == ["range"], nested
print(f"{len(paths)} paths, {len(operations)} operations; Find asks for {asked}; Item is known")
