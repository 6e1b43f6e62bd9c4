package session

import (
	"encoding/json"
	"errors"
)

// dataJSON is the version byte in front of data in JSON. Another encoding
// will have another.
const dataJSON = 1

var errDataVersion = errors.New("session: data of an unknown version")

func encodeData[D any](data D) ([]byte, error) {
	text, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	return append([]byte{dataJSON}, text...), nil
}

// decodeData reads what encodeData wrote. Nothing stored is the zero D.
func decodeData[D any](b []byte) (data D, err error) {
	if len(b) == 0 {
		return data, nil
	}
	if b[0] != dataJSON {
		return data, errDataVersion
	}
	var read D
	if err := json.Unmarshal(b[1:], &read); err != nil {
		return data, err
	}
	return read, nil
}
