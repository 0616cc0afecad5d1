#include "bench/tree_path.h"

#include <memory>

#include "parent/command.h"
#include "transports/local.h"

namespace banyan::bench {

namespace {

constexpr ContextId kNobody = UINT32_MAX;  // is never given

void check(const Reply& reply) {
  if (reply.dead != nullptr) die("a call was answered dead: " + reply.dead->text);
}

Buffer request() {
  return EndRequest{kNobody, kSecond}.encode();
}

}  // namespace

const std::vector<TreePlace>& tree_places() {
  static const std::vector<TreePlace> kPlaces = {{"on one core", {0}}, {"on two cores in turn", {0, 1}}};
  return kPlaces;
}

TreePath::TreePath(std::size_t length) : remote_(root_.router()) {
  const auto on_up = [this](const Result<Child>& child) {
    if (!child) die(child.error().text + ": " + child.error().remedy);
    contexts_.push_back(*child);
    root_.loop().stop();
  };
  const auto on_lost = [](ContextId, const Error& why) { die("a context was lost: " + why.text); };
  while (contexts_.size() < length) {
    if (contexts_.empty())
      root_.runner().start(local("relay"), on_up, on_lost);
    else
      remote_.start(contexts_.back().id, local("relay"), on_up, on_lost);
    root_.loop().run();
  }
}

TreePath::~TreePath() {
  root_.end_all();
  pin(kOurselves, kAnywhere);
}

void TreePath::place(const std::vector<int>& processors) {
  pin(kOurselves, processors[0]);
  for (std::size_t i = 0; i < contexts_.size(); ++i)
    pin(pid_t(contexts_[i].hello.pid), processors[(i + 1) % processors.size()]);
}

double TreePath::processor_time_us() const {
  double sum = cpu_us(kOurselves);
  for (const Child& context : contexts_) sum += cpu_us(pid_t(context.hello.pid));
  return sum;
}

std::size_t TreePath::call_wire_bytes() {
  return kHeaderBytes + request().size();
}

void TreePath::round_trips(std::size_t relays, int count, Samples& samples) {
  const Buffer payload = request();
  double began = 0;
  std::function<void()> next = [&] {
    began = now_us();
    root_.router().call(behind(relays), kEndChild, payload, [&](const Reply& reply) {
      check(reply);
      samples.add(now_us() - began);
      if (--count > 0) return next();
      root_.loop().stop();
    });
  };
  next();
  root_.loop().run();
}

void TreePath::many_calls(std::size_t relays, int outstanding, int count) {
  const Buffer payload = request();
  int unsent = count, unanswered = count;
  std::function<void()> send = [&] {
    --unsent;
    root_.router().call(behind(relays), kEndChild, payload, [&](const Reply& reply) {
      check(reply);
      if (unsent > 0) send();
      if (--unanswered == 0) root_.loop().stop();
    });
  };
  for (int i = 0; i < outstanding; ++i) send();
  root_.loop().run();
}

StreamCost TreePath::command_stream(std::size_t relays, std::size_t bytes) {
  ExecRequest writer;
  writer.argv = {beside_us(kWriter), format("%zu", bytes)};
  writer.has_stdin = true;
  pid_t pid = 0;
  std::size_t taken = 0, awaited = kBlockBytes;
  bool has_room = false;
  Command::Callbacks callbacks;
  callbacks.on_started = [&](const ExecStarted& started) { pid = pid_t(started.pid); };
  callbacks.on_input_room = [&] { has_room = true; };
  callbacks.on_output = [&](bool, Bytes piece, const Charge&) {
    taken += piece.size();
    if (taken >= awaited) root_.loop().stop();
  };
  callbacks.on_done = [&](const Result<ExecOutcome>& outcome) {
    if (!outcome || outcome->kind != ExecOutcome::Kind::kExited || outcome->code != 0)
      die("the writer failed");
    root_.loop().stop();
  };
  Command command(root_.router(), behind(relays), std::move(writer), std::move(callbacks));
  root_.loop().run();
  while (!has_room) root_.loop().run_once(kSecond);

  const auto used = [&] { return processor_time_us() + cpu_us(pid); };
  const double used_before = used(), began = now_us();
  const std::uint8_t go = 0;
  awaited += bytes;
  command.write_input({&go, 1});
  root_.loop().run();
  const double took = now_us() - began, cost = used() - used_before;
  command.finish_input();
  root_.loop().run();
  return {double(bytes) / took, cost / (double(bytes) / (1 << 20))};
}

}  // namespace banyan::bench
