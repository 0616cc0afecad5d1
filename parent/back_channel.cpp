#include "parent/back_channel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/msgpack.h"
#include "core/process_tree.h"
#include "core/text.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

namespace banyan {

namespace {

constexpr int kGenerationsMax = 64;  // between a visitor and the transport: ssh, sudo, a shell
constexpr std::size_t kLengthBytes = 4;
constexpr Nanos kDescriptorPause = 100 * kMillisecond;
constexpr std::size_t kReadMax = 4 * 1024;

std::uint32_t length_at(const Buffer& bytes) {
  return std::uint32_t(bytes[0]) << 24 | std::uint32_t(bytes[1]) << 16 | std::uint32_t(bytes[2]) << 8 |
         bytes[3];
}

std::string path_of(int fd) {
  return cat("/proc/", ::getpid(), "/fd/", fd);
}

Error no_channel(std::string_view what) {
  Error error =
      system_error(ErrorClass::kResource, Phase::kConnect, cat("a socket for the transport: ", what), errno);
  error.system_error = 0;  // which file is missing, this does not say
  error.remedy = "there a folder must be writable: XDG_RUNTIME_DIR, /dev/shm, /tmp, /var/tmp or HOME";
  return error;
}

// Binds `socket` to a name in `folder` that is gone again when this returns; what the name led to stays.
Fd bind_in(const Fd& socket, const std::string& folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = folder + "/s";
  if (name.size() >= sizeof address.sun_path || ::mkdir(folder.c_str(), 0700) != 0) return {};
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  Fd place;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    place = Fd(::open(name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    ::unlink(name.c_str());
  }
  ::rmdir(folder.c_str());
  return place;
}

}  // namespace

// --- asking elsewhere ---

void RemoteAnswerer::ask(std::uint32_t visitor, Bytes question, OnAnswer on_answer) {
  const Router::CallId call =
      router_.call(context_, handle_, Packer().array(2).number(visitor).bytes(question).take(),
                   [this, visitor, on_answer = std::move(on_answer)](const Reply& reply) {
                     std::erase_if(calls_, [&](const auto& open) { return open.first == visitor; });
                     on_answer(reply.dead == nullptr ? reply.payload : Bytes());
                   });
  calls_.emplace_back(visitor, call);
}

RemoteAnswerer::~RemoteAnswerer() {
  for (const auto& [visitor, call] : calls_) router_.abandon(call);
}

bool RemoteAnswerer::decode(Bytes payload, std::uint32_t& visitor, Bytes& question) {
  Unpacker in(payload);
  const bool has_all = in.array() == 2;
  visitor = std::uint32_t(in.number(kVisitorsMax));
  question = in.bytes();
  return has_all && in.finish() && visitor != 0 && question.size() <= kQuestionBytesMax;
}

// --- the socket ---

Result<std::unique_ptr<BackChannel>> BackChannel::open(Loop& loop, Answerer& answerer, OnAsks on_asks,
                                                       Reached reached) {
  std::unique_ptr<BackChannel> channel(new BackChannel(loop, answerer, std::move(on_asks)));
  const Result<Done> listens = reached == Reached::kByName ? channel->listen_by_name() : channel->listen();
  if (!listens) return listens.error();
  return channel;
}

Result<Done> BackChannel::listen() {
  socket_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_) return no_channel("socket");
  const std::string name = cat("/banyan-", hex64(loop_.random()));
  for (const char* folder : {static_cast<const char*>(::getenv("XDG_RUNTIME_DIR")), "/dev/shm", "/tmp",
                             "/var/tmp", static_cast<const char*>(::getenv("HOME"))}) {
    if (folder == nullptr || folder[0] != '/') continue;
    place_ = bind_in(socket_, folder + name);
    if (place_) break;
  }
  if (!place_ || ::listen(socket_.get(), kVisitorsMax) != 0) return no_channel("bind");
  path_ = path_of(place_.get());
  watch_ = loop_.watch(socket_.get(), {.read = true}, [this](Ready) { on_visitor(); });
  return Done{};
}

Result<Done> BackChannel::listen_by_name() {
  socket_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  path_ = cat("banyan-", hex64(loop_.random()));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, path_.data(), path_.size());
  const auto size = socklen_t(offsetof(sockaddr_un, sun_path) + 1 + path_.size());
  if (!socket_ || ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(socket_.get(), kVisitorsMax) != 0)
    return system_error(ErrorClass::kResource, Phase::kConnect, "a socket for the transport", errno);
  watch_ = loop_.watch(socket_.get(), {.read = true}, [this](Ready) { on_visitor(); });
  return Done{};
}

BackChannel::~BackChannel() {
  *alive_ = false;
  loop_.cancel(again_);
  while (!visitors_.empty()) show_out(visitors_.back()->number);
  if (watch_ != 0) loop_.unwatch(watch_);
  if (socket_) loop_.close(socket_.release());
}

void BackChannel::on_visitor() {
  Fd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket && (errno == EMFILE || errno == ENFILE)) return wait_for_descriptors();
  if (!socket) return;
  ucred who{};
  socklen_t size = sizeof who;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 || who.uid != ::geteuid() ||
      !is_of_transport(who.pid) || visitors_ever_ >= kVisitorsMax)
    return;
  Visitor& visitor = *visitors_.emplace_back(std::make_unique<Visitor>());
  visitor.number = ++visitors_ever_;
  visitor.socket = std::move(socket);
  visitor.watch = loop_.watch(visitor.socket.get(), {.read = true},
                              [this, &visitor](Ready ready) { on_ready(visitor, ready); });
}

// The visitor waits, and we do not spin meanwhile.
void BackChannel::wait_for_descriptors() {
  loop_.change(watch_, {});
  again_ = loop_.after(kDescriptorPause, [this] {
    again_ = 0;
    loop_.change(watch_, {.read = true});
  });
}

bool BackChannel::is_of_transport(pid_t pid) const {
  Process process;
  for (int i = 0; i < kGenerationsMax && pid > 1 && transport_ > 0; ++i) {
    if (pid == transport_) return true;
    if (!read_process(pid, process)) return false;
    pid = process.parent;
  }
  return false;
}

void BackChannel::on_ready(Visitor& visitor, Ready ready) {
  if (ready.write && !visitor.out.empty()) {
    if (write_answer(visitor) && visitor.out.empty()) take_question(visitor);  // that may be there already
    return;
  }
  if (!ready.read || visitor.waits || !visitor.out.empty()) return;
  std::uint8_t bytes[kReadMax];
  const IoResult result = loop_.read(visitor.socket.get(), bytes, sizeof bytes);
  if (result.status == IoResult::Status::kWouldBlock) return;
  if (result.status != IoResult::Status::kOk) return show_out(visitor.number);
  visitor.in.insert(visitor.in.end(), bytes, bytes + result.bytes);
  take_question(visitor);
}

// One at a time: until it is answered nothing more is read.
void BackChannel::take_question(Visitor& visitor) {
  if (visitor.in.size() < kLengthBytes) return;
  const std::uint32_t length = length_at(visitor.in);
  if (length == 0 || length > kQuestionBytesMax || questions_ever_ >= kQuestionsMax)
    return show_out(visitor.number);
  if (visitor.in.size() - kLengthBytes < length) return;
  ++questions_ever_;
  const auto begin = visitor.in.begin() + kLengthBytes;
  const Buffer question(begin, begin + length);
  visitor.in.erase(visitor.in.begin(), begin + length);
  visitor.waits = true;
  loop_.change(visitor.watch, {});
  note_waiting(1);
  answerer_.ask(visitor.number, question, [this, alive = alive_, number = visitor.number](Bytes answer) {
    if (*alive) on_answer(number, answer);
  });
}

void BackChannel::on_answer(std::uint32_t number, Bytes answer) {
  auto at = visitors_.begin();
  while (at != visitors_.end() && (*at)->number != number) ++at;
  if (at == visitors_.end() || !(*at)->waits) return;
  Visitor& visitor = **at;
  visitor.waits = false;
  note_waiting(-1);
  if (answer.empty() || answer.size() > kQuestionBytesMax) return show_out(number);
  const auto length = std::uint32_t(answer.size());
  visitor.out.reserve(kLengthBytes + answer.size());
  for (const int shift : {24, 16, 8, 0}) visitor.out.push_back(std::uint8_t(length >> shift));
  visitor.out.insert(visitor.out.end(), answer.begin(), answer.end());
  if (write_answer(visitor) && visitor.out.empty()) take_question(visitor);
}

bool BackChannel::write_answer(Visitor& visitor) {
  const iovec part{visitor.out.data(), visitor.out.size()};
  const IoResult result = loop_.write(visitor.socket.get(), &part, 1);
  if (result.status == IoResult::Status::kOk) {
    ::explicit_bzero(visitor.out.data(), result.bytes);  // it may be a secret
    visitor.out.erase(visitor.out.begin(), visitor.out.begin() + std::ptrdiff_t(result.bytes));
  } else if (result.status != IoResult::Status::kWouldBlock) {
    show_out(visitor.number);
    return false;
  }
  loop_.change(visitor.watch, visitor.out.empty() ? Interest{.read = true} : Interest{.write = true});
  return true;
}

void BackChannel::show_out(std::uint32_t number) {
  auto at = visitors_.begin();
  while (at != visitors_.end() && (*at)->number != number) ++at;
  if (at == visitors_.end()) return;
  const std::unique_ptr<Visitor> visitor = std::move(*at);
  visitors_.erase(at);
  // Unsent, it may be a secret.
  if (!visitor->out.empty()) ::explicit_bzero(visitor->out.data(), visitor->out.size());
  loop_.unwatch(visitor->watch);
  loop_.close(visitor->socket.release());
  if (visitor->waits) note_waiting(-1);
}

void BackChannel::note_waiting(int change) {
  const bool asked = waiting_ > 0;
  waiting_ += change;
  if (*alive_ && (waiting_ > 0) != asked) on_asks_(waiting_ > 0);
}

// --- what recipes name ---

Result<PrivateFile> make_private_file(std::string_view contents) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  Fd fd(::memfd_create("banyan-file", kFlags | MFD_NOEXEC_SEAL));
  if (!fd && errno == EINVAL) fd = Fd(::memfd_create("banyan-file", kFlags));  // before 6.3
  if (!fd || !write_all(fd.get(), contents.data(), contents.size()) ||
      ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
    return system_error(ErrorClass::kResource, Phase::kConnect, "a file in memory for the transport", errno);
  std::string path = path_of(fd.get());
  return PrivateFile{std::move(fd), std::move(path)};
}

std::string own_program() {
  return cat("/proc/", ::getpid(), "/exe");
}

std::string put_in_place(std::string text, std::string_view place, std::string_view path) {
  for (std::size_t at = text.find(place); at != text.npos; at = text.find(place, at + path.size()))
    text.replace(at, place.size(), path);
  return text;
}

}  // namespace banyan
