// Package clients tests rmq-lite with the unmodified Apache client for Go.
//
// RMQ_LITE_BIN names the executable: tests share one throw-away server, and those that restart theirs start their own. With
// NAMESRV_ADDR and no executable the shared server is one that already runs (BROKER_ADDR names its broker), and tests that
// need their own are skipped.
package clients

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

type server struct {
	Namesrv string `json:"namesrv"`
	Broker  string `json:"broker"`
	Oracle  string `json:"oracle"`

	// host is the loopback address of this server alone: while it is down, no other one takes its ports.
	host      string
	dir       string
	ephemeral bool
	command   *exec.Cmd
	ended     chan struct{}
}

var shared *server

func TestMain(m *testing.M) {
	code := func() int {
		if os.Getenv("RMQ_LITE_BIN") != "" {
			dir, err := os.MkdirTemp("", "rmq-clients-")
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			shared = &server{host: "127.0.0.1", dir: dir, ephemeral: true}
			if err := shared.launch("0", "0"); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			defer shared.kill9()
		} else if address := os.Getenv("NAMESRV_ADDR"); address != "" {
			shared = &server{Namesrv: address, Broker: os.Getenv("BROKER_ADDR")}
		} else {
			fmt.Fprintln(os.Stderr, "set RMQ_LITE_BIN to the executable, or NAMESRV_ADDR to a running server")
			return 1
		}
		return m.Run()
	}()
	os.Exit(code)
}

// ownServer starts a server whose data survive stop, kill9 and startAgain.
func ownServer(t *testing.T) *server {
	t.Helper()
	if os.Getenv("RMQ_LITE_BIN") == "" {
		t.Skip("needs a server that the test can stop: set RMQ_LITE_BIN")
	}
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.Intn(254), 1+rand.Intn(254), 1+rand.Intn(254))
	s := &server{host: host, dir: t.TempDir()}
	if err := s.launch("0", "0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill9)
	return s
}

func (s *server) launch(namesrvPort, brokerPort string) error {
	ports := filepath.Join(s.dir, "ports.json")
	if err := os.Remove(ports); err != nil && !os.IsNotExist(err) {
		return err
	}
	args := []string{"start", "--bind", s.host, "--namesrv-port", namesrvPort, "--broker-port", brokerPort, "--web-port", "0", "--ports-file", ports}
	if s.ephemeral {
		args = append(args, "--ephemeral")
	} else {
		args = append(args, "--data-dir", filepath.Join(s.dir, "data"))
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(os.Getenv("RMQ_LITE_BIN"), args...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }()
	s.command, s.ended = command, ended

	deadline := time.After(150 * time.Second)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			text, err := os.ReadFile(ports)
			if os.IsNotExist(err) {
				continue
			}
			if err != nil {
				return err
			}
			return json.Unmarshal(text, s)
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("the server ended before it was ready:\n%s", text)
		case <-deadline:
			s.kill9()
			return fmt.Errorf("the server wrote no %s within 150 s", ports)
		}
	}
}

// stop asks the server to end and waits until it has.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not end within 30 s")
	}
}

// kill9 ends the server at once; on one that has ended it does nothing.
func (s *server) kill9() {
	_ = s.command.Process.Kill()
	<-s.ended
}

// startAgain starts the ended server on the same ports and data.
func (s *server) startAgain(t *testing.T) {
	t.Helper()
	_, namesrvPort, _ := net.SplitHostPort(s.Namesrv)
	_, brokerPort, _ := net.SplitHostPort(s.Broker)
	if err := s.launch(namesrvPort, brokerPort); err != nil {
		t.Fatal(err)
	}
}

var (
	nameLock sync.Mutex
	names    int
	run      = time.Now().UnixMilli() % 1e9
)

// unique makes a name that no other test, and no earlier run against the same server, has used.
func unique(what string) string {
	nameLock.Lock()
	defer nameLock.Unlock()
	names++
	return fmt.Sprintf("%s_go_%d_%d", what, run, names)
}

// until waits until the condition holds.
func until(t *testing.T, what string, bound time.Duration, condition func() bool) {
	t.Helper()
	deadline := time.After(bound)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", bound, what)
		}
	}
}
