// tests/bootstrap/far_end.h -- a real shell behind a real pipe, socket or terminal, and a parent that boots
// it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "core/fd.h"
#include "parent/handshake.h"

namespace banyan::test {

enum class Wire { kPipe, kSocketpair, kPty };
constexpr Wire kWires[] = {Wire::kPipe, Wire::kSocketpair, Wire::kPty};
std::string name_of(Wire wire);

// The echo image of an architecture, with the loader that ships. Lives as long as the program.
const ImageStore& echo_images();

// A folder that is gone with this object; in it "home", "runtime" and "work" for HOME, XDG_RUNTIME_DIR and
// ".".
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }
  // A folder of links to these programs, by the names after the colon: "/usr/bin/dash:sh". For PATH.
  std::string make_path(const std::string& name, const std::vector<std::string>& links) const;
  void write_script(const std::string& name, const std::string& text) const;
  // Files that stage 0 or a loader left: in its own three folders, and by their names in the system's.
  std::vector<std::string> left_behind() const;

 private:
  std::string path_;
};

// What is run, and how it is connected.
struct Start {
  std::vector<std::string> argv;
  std::string path = "/usr/local/bin:/usr/bin:/bin";  // PATH
  std::vector<std::string> environment;               // "NAME=value", besides PATH, HOME and XDG_RUNTIME_DIR
  Wire wire = Wire::kPipe;
  std::function<void()> in_child = [] {};  // before exec
};

struct Process {
  pid_t pid = -1;
  Fd in;   // we write
  Fd out;  // we read; for a terminal or a socket a second descriptor of the same
};

Process start(const Start& start, const Folder& folder);
// Its wait status; kills it if it does not end within some seconds (then -1).
int end_of(Process& process);

struct Booted {
  Handshake::State state = Handshake::State::kFailed;
  Error error;
  std::string banner;  // the echo image's line
  std::string echo;
  int status = -1;
};

struct Boot {
  std::string expected_architecture = {};
  std::string payload = {};  // to be echoed; with an expectation sent before anything was heard
  std::size_t cut_after = std::string::npos;  // bytes written before the connection is closed
  std::size_t pieces_of = std::string::npos;  // no write larger than this
};

// `command` is appended to start.argv. Ends the process.
Booted boot(Start start, const Boot& boot, const Folder& folder);

std::string random_bytes(std::size_t count, std::uint64_t salt);
std::uint64_t nonce_of_test();

}  // namespace banyan::test
