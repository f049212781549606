package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"os"
	"sync"
)

// call is the header of a frame that brings a call; its payload is the body.
type call struct {
	Number   int         `json:"call"`
	ID       string      `json:"id"`
	Task     string      `json:"task"`
	Function string      `json:"function"`
	Node     string      `json:"node"`
	Method   string      `json:"method"`
	Host     string      `json:"host"`
	Query    string      `json:"query"`
	Headers  [][2]string `json:"headers"`
	Timeout  *float64    `json:"timeout_s"`
}

// object is a JSON object. The module it is compiled in may be one for a Go without "any".
type object = map[string]interface{}

// runtime is the other end of descriptor 3.
type runtime struct {
	connection net.Conn
	reader     *bufio.Reader
	writing    sync.Mutex
}

func connect() (*runtime, error) {
	file := os.NewFile(3, "runtime")
	// The connection has a descriptor of its own, which no child of the handler inherits.
	connection, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return nil, err
	}
	return &runtime{connection: connection, reader: bufio.NewReader(connection)}, nil
}

func (other *runtime) read() (*call, []byte, error) {
	var lengths [8]byte
	if _, err := io.ReadFull(other.reader, lengths[:]); err != nil {
		return nil, nil, err
	}
	header := make([]byte, binary.BigEndian.Uint32(lengths[:4]))
	body := make([]byte, binary.BigEndian.Uint32(lengths[4:]))
	if _, err := io.ReadFull(other.reader, header); err != nil {
		return nil, nil, err
	}
	if _, err := io.ReadFull(other.reader, body); err != nil {
		return nil, nil, err
	}
	given := &call{}
	return given, body, json.Unmarshal(header, given)
}

// say sends one frame; the parts of the payload follow one another.
func (other *runtime) say(header object, payload ...[]byte) error {
	head, err := json.Marshal(header)
	if err != nil {
		return err
	}
	size := 0
	for _, part := range payload {
		size += len(part)
	}
	lengths := make([]byte, 8, 8+len(head))
	binary.BigEndian.PutUint32(lengths, uint32(len(head)))
	binary.BigEndian.PutUint32(lengths[4:], uint32(size))
	parts := append(net.Buffers{append(lengths, head...)}, payload...)
	other.writing.Lock()
	defer other.writing.Unlock()
	_, err = parts.WriteTo(other.connection)
	return err
}
