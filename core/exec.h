// core/exec.h -- running a command for another context: the callee's side.
//
// A call to kExec carries an ExecRequest; its reply is an ExecOutcome, sent after both output streams were
// ended. Output flows as bytes with credit on one stream each, so a slow reader slows the command and costs
// no memory. The command runs in its own session and process group under a guard (core/guard.h): timeout,
// cancel, shutdown, the death of the link or of this very process end it and what it started. What it left in
// the background when it ended by itself lives on, as with ssh; an output it holds open keeps nobody waiting.
//
// Thread: the loop's.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/router.h"

namespace banyan {

constexpr std::size_t kExecMax = 1'024;  // commands at once in one context; beyond: dead, busy

// MessagePack array in the order of the fields (docs/protocol.md).
struct ExecRequest {
  std::vector<std::string> argv;  // REQUIRES: not empty
  bool shell = false;             // then argv[0] is a line for /bin/sh -c, the rest are its $0 and on
  std::string directory;          // empty: where the context is
  std::vector<std::pair<std::string, std::string>> environment;  // added to what the context was given
  bool has_stdin = false;                                        // else /dev/null
  Nanos timeout = 0;                                             // 0: none
  Handle events = 0;                                             // of the caller: gets ExecStarted once
  Handle out = 0, err = 0;  // of the caller: get the bytes; an empty message ends each; 0: /dev/null

  Buffer encode() const;
  static Result<ExecRequest> decode(Bytes bytes);
};

struct ExecStarted {
  std::int64_t pid = 0;
  Handle input = 0;  // of the callee: takes stdin when has_stdin; an empty message is end of file

  Buffer encode() const;
  static Result<ExecStarted> decode(Bytes bytes);
};

struct ExecOutcome {
  enum class Kind : std::uint8_t {
    kExited,         // code
    kSignalled,      // signal, e.g. 9
    kNotFound,       // the shell's 127; code is errno, as in the next two
    kNotExecutable,  // the shell's 126
    kNotStarted,     // no process to be had, or no such directory
  };
  enum class Ended : std::uint8_t { kItself, kTimeout, kCancelled, kEnding };
  Kind kind = Kind::kExited;
  int code = 0;
  int signal = 0;
  Ended ended = Ended::kItself;  // who ended it
  std::string text;              // why it was not started, or not ended

  Buffer encode() const;
  static Result<ExecOutcome> decode(Bytes bytes);
};

class ExecService {
 public:
  // Registers itself for kExec, ancestors only.
  ExecService(Loop& loop, Router& router, std::size_t commands_max = kExecMax);
  ExecService(const ExecService&) = delete;
  ExecService& operator=(const ExecService&) = delete;
  ~ExecService();  // kills without grace whatever still runs, and waits for that (core/guard.h)

  // Ends every command: SIGTERM now, SIGKILL after a second; `done` once all are reaped. From here on
  // requests are answered dead (ending), and output that nobody has taken is dropped.
  void shut_down(Function<void()> done);
  std::size_t running() const { return commands_.size(); }

 private:
  class Output;
  class Command;

  void on_request(Incoming& request);
  Bytes read_some(int fd, std::size_t max, IoResult& result);
  void remove_soon(std::uint64_t command);

  Loop& loop_;
  Router& router_;
  const std::size_t commands_max_;
  Table<std::uint64_t, std::unique_ptr<Command>> commands_;
  std::uint64_t next_ = 1;
  bool ending_ = false;
  Function<void()> on_idle_;
  Buffer read_buffer_;  // one for all commands, there only while there are any
  Alive alive_;         // for posted tasks
};

}  // namespace banyan
