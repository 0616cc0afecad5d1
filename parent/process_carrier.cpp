#include "parent/process_carrier.h"

#include <fcntl.h>

#include "core/bytes.h"
#include "core/text.h"

namespace banyan {

namespace {
constexpr int kReadsATurn = 16;  // of what a transport complains: then others are served
}

SpawnOptions ProcessCarrier::options(std::vector<std::pair<std::string, std::string>> environment) {
  SpawnOptions options;
  options.environment = std::move(environment);
  options.new_session = true;      // a Ctrl-C at our terminal is ours to pass on
  options.die_with_parent = true;  // a booster: the end of the channel is what tells it
  return options;
}

Result<std::unique_ptr<Carrier>> ProcessCarrier::start(Loop& loop, const SpawnPlan& plan,
                                                       std::string_view what, Fd far_end, Owner& owner,
                                                       pid_t* pid) {
  Result<FdPair> complaints = make_pipe();
  if (!complaints) return complaints.error();
  const Spawned spawned =
      plan.run({.in = far_end.get(), .out = far_end.get(), .err = complaints->second.get()});
  if (spawned.pid < 0) {
    const bool no_resources = spawned.step == SpawnStep::kFork || spawned.step == SpawnStep::kDescriptors;
    return system_error(no_resources ? ErrorClass::kResource : ErrorClass::kBootstrap, Phase::kConnect,
                        cat("starting ", what), spawned.error);
  }
  if (pid != nullptr) *pid = spawned.pid;
  return std::unique_ptr<Carrier>(new ProcessCarrier(loop, spawned.pid, std::move(complaints->first), owner));
}

ProcessCarrier::ProcessCarrier(Loop& loop, pid_t pid, Fd complaints, Owner& owner)
    : loop_(loop),
      owner_(owner),
      complaints_(std::move(complaints)),
      process_(loop, pid, true, [this](int status) { on_exit(status); }) {
  ::fcntl(complaints_.get(), F_SETFL, O_NONBLOCK);
  watch_ = loop_.watch(complaints_.get(), {.read = true}, [this](Ready) { read_text(); });
}

ProcessCarrier::~ProcessCarrier() {
  if (watch_ != 0) loop_.unwatch(watch_);
  if (complaints_) loop_.close(complaints_.release());
}

void ProcessCarrier::read_text() {
  std::uint8_t bytes[4096];
  for (int i = 0; i < kReadsATurn && complaints_; ++i) {
    const IoResult result = loop_.read(complaints_.get(), bytes, sizeof bytes);
    if (result.status == IoResult::Status::kWouldBlock) return;
    if (result.status == IoResult::Status::kOk) {
      owner_.on_carrier_text(as_text(Bytes(bytes, result.bytes)));
      continue;
    }
    loop_.unwatch(watch_);
    watch_ = 0;
    loop_.close(complaints_.release());
  }
}

void ProcessCarrier::on_exit(int status) {
  read_text();
  owner_.on_carrier_end({.error = {}, .status = status});
}

}  // namespace banyan
