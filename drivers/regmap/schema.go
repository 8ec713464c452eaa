package regmap

import _ "embed"

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema of a map, for editors.
func Schema() []byte { return schema }
