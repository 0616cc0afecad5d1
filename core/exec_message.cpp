#include "core/exec.h"
#include "core/msgpack.h"

// What the three messages of exec.h look like on the wire. Arguments, names and paths are bytes to the
// kernel, in no particular encoding, so they travel as bin.
namespace banyan {

namespace {

constexpr std::uint64_t kTimeoutMax = std::uint64_t(1) << 62;  // 146 years

Error malformed(const char* what) {
  return Error{ErrorClass::kProtocol, Phase::kCommand, what, {}};
}

// What holds a NUL would arrive cut short.
std::string take_string(Unpacker& in, bool& has_nul) {
  const Bytes bytes = in.bytes();
  has_nul = has_nul || as_text(bytes).find('\0') != std::string_view::npos;
  return std::string(as_text(bytes));
}

}  // namespace

Buffer ExecRequest::encode() const {
  Packer packer;
  packer.array(9).array(std::uint32_t(argv.size()));
  for (const std::string& argument : argv) packer.bytes(as_bytes(argument));
  packer.boolean(shell).bytes(as_bytes(directory)).map(std::uint32_t(environment.size()));
  for (const auto& [name, value] : environment) packer.bytes(as_bytes(name)).bytes(as_bytes(value));
  packer.boolean(has_stdin).number(std::uint64_t(timeout)).number(events).number(out).number(err);
  return packer.take();
}

Result<ExecRequest> ExecRequest::decode(Bytes bytes) {
  Unpacker in(bytes);
  ExecRequest request;
  bool has_nul = false, bad_name = false;
  if (in.array() != 9) return malformed("an exec request has nine parts");
  // No reserve(): the number is the peer's word. One that is too large fails the reader soon.
  for (std::uint32_t left = in.array(); left > 0 && in.ok(); --left)
    request.argv.push_back(take_string(in, has_nul));
  request.shell = in.boolean();
  request.directory = take_string(in, has_nul);
  for (std::uint32_t left = in.map(); left > 0 && in.ok(); --left) {
    std::string name = take_string(in, has_nul);
    bad_name = bad_name || name.empty() || name.find('=') != std::string::npos;
    request.environment.emplace_back(std::move(name), take_string(in, has_nul));
  }
  request.has_stdin = in.boolean();
  request.timeout = Nanos(in.number(kTimeoutMax));
  request.events = in.number();
  request.out = in.number();
  request.err = in.number();
  if (!in.finish()) return malformed("the exec request cannot be read");
  if (request.argv.empty()) return malformed("no command was given");
  if (has_nul) return malformed("arguments, environment and directory cannot hold a NUL byte");
  if (bad_name) return malformed("the name of an environment variable is empty or holds '='");
  return request;
}

Buffer ExecStarted::encode() const {
  return Packer().array(2).number(pid).number(input).take();
}

Result<ExecStarted> ExecStarted::decode(Bytes bytes) {
  Unpacker in(bytes);
  ExecStarted started;
  if (in.array() != 2) return malformed("exec's start has two parts");
  started.pid = in.signed_number();
  started.input = in.number();
  if (!in.finish()) return malformed("exec's start cannot be read");
  return started;
}

Buffer ExecOutcome::encode() const {
  return Packer()
      .array(5)
      .number(std::uint8_t(kind))
      .number(code)
      .number(signal)
      .number(std::uint8_t(ended))
      .text(text)
      .take();
}

Result<ExecOutcome> ExecOutcome::decode(Bytes bytes) {
  Unpacker in(bytes);
  ExecOutcome outcome;
  if (in.array() != 5) return malformed("an exec outcome has five parts");
  outcome.kind = Kind(in.number(std::uint64_t(Kind::kNotStarted)));
  outcome.code = int(in.number(INT32_MAX));
  outcome.signal = int(in.number(INT32_MAX));
  outcome.ended = Ended(in.number(std::uint64_t(Ended::kEnding)));
  outcome.text = std::string(in.text());
  if (!in.finish()) return malformed("the exec outcome cannot be read");
  return outcome;
}

}  // namespace banyan
