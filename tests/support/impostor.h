// tests/support/impostor.h -- a context that was taken over: a real agent is stopped, and the test speaks on
// its link.
//
// The worst a hostile host can do: it is up and known, its link is where it belongs, and from now on whoever
// has the host writes the frames by hand. Nothing above it is changed: program and agents are the real ones.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <vector>

#include "core/frame.h"
#include "core/msgpack.h"
#include "core/router.h"
#include "tests/support/processes.h"

namespace banyan::test {

inline Buffer frame(Header header, const Buffer& payload = {}) {
  header.length = std::uint32_t(payload.size());
  Buffer bytes(kHeaderBytes);
  encode_header(header, bytes.data());
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

inline Buffer numbers(const std::vector<std::uint64_t>& all) {
  Packer out;
  out.array(std::uint32_t(all.size()));
  for (const std::uint64_t number : all) out.number(number);
  return out.take();
}

class Impostor {
 public:
  // The agent may run commands, and has said all it wanted to.
  Impostor(pid_t agent, ContextId id) : agent_(agent), id_(id) {
    ::kill(agent, SIGSTOP);
    while (stat_field(agent, 0) != "T" && is_running(agent)) ::poll(nullptr, 0, 1);
    const Fd process(int(::syscall(SYS_pidfd_open, agent, 0)));
    REQUIRE(process);
    std::set<int> sockets;
    for (const auto& entry : std::filesystem::directory_iterator(cat("/proc/", agent, "/fd")))
      if (std::filesystem::read_symlink(entry.path()).string().starts_with("socket:"))
        sockets.insert(std::stoi(entry.path().filename().string()));
    REQUIRE_FALSE(sockets.empty());
    // It has the link from the beginning.
    fd_ = Fd(int(::syscall(SYS_pidfd_getfd, process.get(), *sockets.begin(), 0)));
    REQUIRE(fd_);
  }
  Impostor(const Impostor&) = delete;
  Impostor& operator=(const Impostor&) = delete;
  ~Impostor() { end(); }

  ContextId id() const { return id_; }
  pid_t agent() const { return agent_; }

  // --- speaking ---
  Header data(ContextId to, Handle handle, Handle reply_to = kNoReply) const {
    Header header;
    header.flags = kFirst | kLast;
    header.destination = to;
    header.source = header.authority = id_;
    header.handle = handle;
    header.reply_to = reply_to;
    return header;
  }
  Header control(ContextId to, Handle handle, Handle reply_to = kNoReply) const {
    Header header = data(to, handle, reply_to);
    header.flags |= kControl;
    return header;
  }
  bool say(const Header& header, const Buffer& payload = {}) { return write(frame(header, payload)); }
  // All of it, unless we are cut off: then false. Listens meanwhile, unless told not to.
  bool write(Bytes bytes) {
    if (listens) take();
    while (!bytes.empty() && !is_over_) {
      const ssize_t count =
          retry([&] { return ::send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL); });
      if (count > 0) {
        bytes = bytes.subspan(std::size_t(count));
        continue;
      }
      if (errno != EAGAIN) break;
      pollfd wait{fd_.get(), short(listens ? POLLOUT | POLLIN : POLLOUT), 0};
      REQUIRE(::poll(&wait, 1, kPatience) > 0);  // a link is always read
      if ((wait.revents & (POLLIN | POLLHUP)) != 0 && listens) take();
    }
    if (bytes.empty()) return true;
    is_over_ = true;
    return false;
  }
  // As one who keeps the rules of the link window: waits until there is credit for all these data frames.
  bool write_with_credit(Bytes frames) {
    bool is_told = false;
    while (credit_ < frames.size() && !is_over_) {
      if (!is_told) say(control(0, kLinkBlocked));
      is_told = true;
      listen(kPatience);
    }
    credit_ -= frames.size();
    return write(frames);
  }
  // Whether there is credit for so much, which is then used up. Does not wait, but asks.
  bool may_write(std::size_t bytes) {
    if (is_over_) return false;
    if (credit_ >= bytes) {
      credit_ -= bytes;
      has_asked_ = false;
      return true;
    }
    if (!std::exchange(has_asked_, true)) say(control(0, kLinkBlocked));
    return false;
  }
  // No byte comes any more; ours are still read.
  void stop_speaking() { ::shutdown(fd_.get(), SHUT_WR); }

  // --- listening ---
  bool listens = true;  // else what comes stays in the pipe
  struct Heard {
    Header header;
    Buffer payload;
  };
  std::vector<Heard> heard;                 // what was not the link's own business, the first of it
  std::map<Handle, DeadReason> deaths;      // by reply_to of what was answered dead
  std::map<DeadReason, std::string> texts;  // of the last dead message of each kind
  std::uint64_t answers = 0, replies = 0, credits = 0;  // dead messages, data, stream credit

  void listen(int milliseconds) {
    pollfd wait{fd_.get(), POLLIN, 0};
    if (!is_over_ && ::poll(&wait, 1, milliseconds) > 0) take();
  }
  // The other side has closed the link, or does so soon.
  bool is_cut_off() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatience);
    while (!is_over_ && std::chrono::steady_clock::now() < end) listen(100);
    if (is_over_) kill_agent();  // nobody need wait for it to end by itself
    return is_over_;
  }
  // The other side lives, has read all we said, and has let us live.
  bool is_still_there() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatience);
    ask();
    while (!is_over_ && !is_answered() && std::chrono::steady_clock::now() < end) {
      say(control(0, kHeartbeat), numbers({last_ping_}));  // of several questions that wait it answers one
      for (int i = 0; i < 10 && !is_answered(); ++i) listen(100);
    }
    return is_answered();
  }
  // The same for who must not wait: a question, and whether it was answered.
  void ask() {
    last_ping_ += std::uint64_t(1) << 32;  // none that a test might send
    say(control(0, kHeartbeat), numbers({last_ping_}));
  }
  bool is_answered() const { return !is_over_ && echo_ == last_ping_; }
  bool is_over() const { return is_over_; }
  template <class Done>
  bool listen_until(const Done& done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatience);
    while (!done() && !is_over_ && std::chrono::steady_clock::now() < end) listen(10);
    return done();
  }

  // The host is gone.
  void end() {
    kill_agent();
    fd_.reset();
  }

 private:
  static constexpr int kPatience = 20'000;  // milliseconds: far beyond what anything here takes
  static constexpr std::size_t kHeardMax = 1'000;

  void kill_agent() {
    if (agent_ > 0) ::kill(std::exchange(agent_, 0), SIGKILL);
  }
  void take() {
    if (std::exchange(is_taking_, true)) return;  // what comes may be answered
    std::uint8_t bytes[65'536];
    ssize_t count = 0;
    while ((count = retry([&] { return ::recv(fd_.get(), bytes, sizeof bytes, MSG_DONTWAIT); })) > 0)
      in_.insert(in_.end(), bytes, bytes + count);
    is_over_ = is_over_ || count == 0 || errno != EAGAIN;
    std::size_t at = 0;
    while (in_.size() - at >= kHeaderBytes) {
      const Result<Header> header = decode_header(in_.data() + at);
      // Where the parent is ending it has woken the agent, who now reads beside us.
      if (!header) is_over_ = true;
      if (!header) break;
      if (in_.size() - at < header->wire_bytes()) break;
      const Bytes payload(in_.data() + at + kHeaderBytes, header->length);
      at += header->wire_bytes();
      on_frame(*header, payload);
    }
    in_.erase(in_.begin(), in_.begin() + std::ptrdiff_t(at));
    is_taking_ = false;
  }
  void on_frame(const Header& header, Bytes payload) {
    Unpacker in(payload);
    if (header.has(kControl) && header.is_dead()) {
      ++answers;
      in.array();
      const auto reason = DeadReason(in.number());
      texts[reason] = std::string(in.text());
      if (deaths.size() < kHeardMax) deaths[header.handle] = reason;
    } else if (header.has(kControl) && header.handle == kHeartbeat) {
      // Honest in this: silence would end us.
      say(control(0, kHeartbeatEcho), Buffer(payload.begin(), payload.end()));
    } else if (header.has(kControl) && header.handle == kHeartbeatEcho) {
      in.array();
      echo_ = in.number();
    } else if (header.has(kControl) && header.handle == kLinkCredit) {
      in.array();
      credit_ += in.number();
    } else if (header.has(kControl) && header.handle == kStreamCredit) {
      ++credits;
    } else {
      replies += !header.has(kControl);
      if (heard.size() < kHeardMax) heard.push_back({header, Buffer(payload.begin(), payload.end())});
    }
  }

  pid_t agent_;
  const ContextId id_;
  Fd fd_;
  Buffer in_;
  std::uint64_t credit_ = 1 << 20;  // half of what a link begins with: the agent has used some
  std::uint64_t last_ping_ = 0, echo_ = 0;
  bool is_over_ = false, is_taking_ = false, has_asked_ = false;
};

}  // namespace banyan::test
