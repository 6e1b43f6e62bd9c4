package jwt

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
)

var (
	accessType      = reflect.TypeFor[AccessClaims]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	textType        = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// namesOf returns the names that encoding/json would look for when it decodes
// into t, with the registered ones. It matches names without regard to case,
// and we must not: whoever gets a claim "Admin" signed has not got "admin".
func namesOf(root reflect.Type) (nameSet, []error) {
	set := maps.Clone(registered)
	var errs []error
	seen := map[reflect.Type]bool{}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		if t == accessType {
			errs = append(errs, errors.New("AccessClaims would stay empty there: embed it in the claims themselves"))
			return
		}
		if seen[t] {
			return
		}
		seen[t] = true
		if p := reflect.PointerTo(t); p.Implements(unmarshalerType) || p.Implements(textType) {
			return // it decodes itself
		}
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			walk(t.Elem())
		case reflect.Struct:
			for i := range t.NumField() {
				f := t.Field(i)
				if t == root && f.Anonymous && f.Type == accessType {
					continue
				}
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if f.Tag.Get("json") == "-" || !f.IsExported() && !f.Anonymous {
					continue
				}
				walk(f.Type)
				if f.Anonymous && name == "" {
					continue // its fields count as t's
				}
				if name == "" {
					name = f.Name
				}
				if exact, ok := set[fold(name)]; ok && exact != name {
					errs = append(errs, fmt.Errorf("claim %q of %v differs only in case from %q: give the field a json tag", name, t, exact))
					continue
				}
				set[fold(name)] = name
			}
		}
	}
	walk(root)
	return set, errs
}
