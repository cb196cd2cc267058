package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decodeStrictly decodes a JSON object into a struct. An error names the field that is wrong, with its indices, as in
// interfaces[0].routes[1].metric. Names have to match exactly, and null stands for a field that is missing.
func decodeStrictly(document []byte, to any) error {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("the JSON object has no end")
		}
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more follows the object")
	}
	if value == nil {
		return errors.New("null: want an object")
	}
	if err := checkJSON(value, reflect.TypeOf(to).Elem(), ""); err != nil {
		return err
	}
	if err := checkTwice(json.NewDecoder(bytes.NewReader(document)), ""); err != nil {
		return err
	}
	return json.Unmarshal(document, to)
}

// checkJSON checks that a value, which is at path, can be decoded into a type.
func checkJSON(value any, to reflect.Type, path string) error {
	if to.Kind() == reflect.Pointer {
		to = to.Elem()
	}
	switch v := value.(type) {
	case nil:
		return nil
	case map[string]any:
		if to.Kind() == reflect.Struct {
			return checkObject(v, to, path)
		}
	case []any:
		if to.Kind() == reflect.Slice {
			return checkArray(v, to, path)
		}
	case json.Number:
		if !isNatural(to) {
			break
		}
		if _, err := strconv.ParseUint(v.String(), 10, to.Bits()); err == nil {
			return nil
		}
		return fmt.Errorf("%s: %s: want %s", path, shortened(v.String()), wantedJSON(to))
	case string:
		if to.Kind() == reflect.String {
			return nil
		}
	case bool:
		if to.Kind() == reflect.Bool {
			return nil
		}
	}
	if path == "" {
		return fmt.Errorf("%s: want %s", kindOfJSON(value), wantedJSON(to))
	}
	return fmt.Errorf("%s: %s: want %s", path, kindOfJSON(value), wantedJSON(to))
}

func checkObject(object map[string]any, to reflect.Type, path string) error {
	fields := map[string]reflect.Type{}
	for field := range to.Fields() {
		fields[field.Tag.Get("json")] = field.Type
	}
	if path != "" {
		path += "."
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		field, known := fields[name]
		if !known {
			return fmt.Errorf("unknown field %q", shortened(path+name))
		}
		if err := checkJSON(object[name], field, path+name); err != nil {
			return err
		}
	}
	return nil
}

func checkArray(array []any, to reflect.Type, path string) error {
	for n, value := range array {
		if err := checkJSON(value, to.Elem(), fmt.Sprintf("%s[%d]", path, n)); err != nil {
			return err
		}
	}
	return nil
}

// checkTwice checks that no object of the next value, which is at path, has two fields of the same name. The document is
// well-formed.
func checkTwice(decoder *json.Decoder, path string) error {
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	begin, _ := token.(json.Delim)
	if begin == 0 {
		return nil
	}
	names := map[string]bool{}
	for n := 0; decoder.More(); n++ {
		at := fmt.Sprintf("%s[%d]", path, n)
		if begin == '{' {
			token, err = decoder.Token()
			if err != nil {
				return err
			}
			name, _ := token.(string)
			if at = strings.TrimPrefix(path+"."+name, "."); names[name] {
				return fmt.Errorf("field %q stands twice", shortened(at))
			}
			names[name] = true
		}
		if err := checkTwice(decoder, at); err != nil {
			return err
		}
	}
	_, err = decoder.Token() // the end
	return err
}

func isNatural(t reflect.Type) bool { return t.Kind() == reflect.Uint32 || t.Kind() == reflect.Uint64 }

// wantedJSON names the values of a type for people.
func wantedJSON(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Struct:
		return "an object"
	case t.Kind() == reflect.Slice:
		return "an array"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case isNatural(t):
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<(t.Bits()-1)<<1-1)
	default:
		return "a string"
	}
}

// kindOfJSON names the kind of a value for people.
func kindOfJSON(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	default:
		return "a string"
	}
}

// shortened returns the beginning of text that is long.
func shortened(text string) string {
	const most = 100
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
