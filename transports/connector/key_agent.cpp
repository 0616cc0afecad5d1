#include "transports/connector/key_agent.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/text.h"
#include "transports/connector/wire.h"

namespace banyan::connector {
namespace {

constexpr Nanos kRetryDelay = 20 * kMillisecond;  // until a full backlog is tried again
constexpr std::size_t kLengthBytes = 4;
constexpr std::size_t kReadBytes = 16 * 1024;

}  // namespace

KeyAgent::KeyAgent(Loop& loop, std::string socket_path) : loop_(loop), path_(std::move(socket_path)) {}

KeyAgent::~KeyAgent() {
  disconnect();
  for (const Request& request : requests_) loop_.cancel(request.deadline);
}

Result<KeyAgent::RequestId> KeyAgent::list_keys(Nanos within, OnKeys on_keys) {
  Request request;
  request.message = encode_list_keys();
  request.on_keys = std::move(on_keys);
  return enqueue(std::move(request), within);
}

Result<KeyAgent::RequestId> KeyAgent::sign(Bytes public_blob, Bytes data, std::string_view algorithm,
                                           Nanos within, OnSignature on_signature) {
  if (public_blob.size() > kKeyAgentMessageMax / 2 || data.size() > kKeyAgentMessageMax / 4)
    return unusable("is not asked to sign so much");
  Request request;
  request.message = encode_sign(public_blob, data, algorithm);
  request.algorithm = algorithm;
  request.on_signature = std::move(on_signature);
  return enqueue(std::move(request), within);
}

Result<KeyAgent::RequestId> KeyAgent::enqueue(Request request, Nanos within) {
  if (path_.empty() || path_.size() >= sizeof(sockaddr_un::sun_path))
    return unusable(path_.empty() ? "has no socket" : "has a socket of too long a name");
  if (requests_.size() >= kKeyAgentQueueMax)
    return Error(ErrorClass::kResource, Phase::kAuth,
                 cat(requests_.size(), " questions already wait for the key agent"),
                 "connect to fewer hosts at once");
  const RequestId id = ++last_id_;
  request.id = id;
  request.deadline = loop_.after(within, [this, id] { on_deadline(id); });
  requests_.push_back(std::move(request));
  if (requests_.size() == 1) begin_soon();
  return id;
}

void KeyAgent::cancel(RequestId request) {
  const auto it = std::ranges::find(requests_, request, &Request::id);
  if (it == requests_.end()) return;
  const bool served = it == requests_.begin();
  loop_.cancel(it->deadline);
  requests_.erase(it);
  if (!served) return;
  disconnect();
  if (!requests_.empty()) begin_soon();
}

// Later, so that nobody is called back before his own call has returned.
void KeyAgent::begin_soon() {
  retry_ = loop_.after(0, [this] { begin(); });
}

void KeyAgent::begin() {
  retry_ = 0;
  socket_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_) return finish(system_error(ErrorClass::kResource, Phase::kAuth, "socket", errno));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  if (retry([&] {
        return ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
      }) != 0) {
    if (errno != EAGAIN)
      return finish(unusable(cat("cannot be reached at ", path_, ": ", std::strerror(errno))));
    socket_.reset();
    retry_ = loop_.after(kRetryDelay, [this] { begin(); });
    return;
  }
  watch_ =
      loop_.watch(socket_.get(), {.read = false, .write = true}, [this](Ready ready) { on_ready(ready); });
}

void KeyAgent::on_ready(Ready ready) {
  if (written_ < requests_.front().message.size()) {
    if (ready.write) write_some();
  } else if (ready.read) {
    read_some();
  }
}

void KeyAgent::write_some() {
  Buffer& message = requests_.front().message;
  const iovec part{message.data() + written_, message.size() - written_};
  const IoResult result = loop_.write(socket_.get(), &part, 1);
  if (result.status == IoResult::Status::kWouldBlock) return;
  if (result.status != IoResult::Status::kOk)
    return finish(unusable(cat("hangs up: ", std::strerror(result.error))));
  written_ += result.bytes;
  if (written_ == message.size()) loop_.change(watch_, {.read = true, .write = false});
}

void KeyAgent::read_some() {
  // No more than is announced: what comes behind it belongs to nobody.
  std::size_t wanted = kLengthBytes;
  if (reply_.size() >= kLengthBytes) wanted += WireReader(reply_).number();
  const std::size_t have = reply_.size();
  reply_.resize(have + std::min(wanted - have, kReadBytes));
  const IoResult result = loop_.read(socket_.get(), reply_.data() + have, reply_.size() - have);
  reply_.resize(have + (result.status == IoResult::Status::kOk ? result.bytes : 0));
  if (result.status == IoResult::Status::kWouldBlock) return;
  if (result.status == IoResult::Status::kEnd) return finish(unusable("hangs up without an answer"));
  if (result.status != IoResult::Status::kOk)
    return finish(unusable(cat("hangs up: ", std::strerror(result.error))));
  if (reply_.size() < kLengthBytes) return;
  const std::uint32_t length = WireReader(reply_).number();
  if (length == 0 || length > kKeyAgentMessageMax)
    return finish(unusable(cat("announces an answer of ", length, " bytes")));
  if (reply_.size() < kLengthBytes + length) return;
  finish(Buffer(reply_.begin() + kLengthBytes, reply_.end()));
}

void KeyAgent::on_deadline(RequestId request) {
  const Error error(ErrorClass::kTimeout, Phase::kAuth,
                    cat("the key agent at ", path_, " does not answer in time"),
                    "see whether it waits for somebody, or name a key file");
  const auto it = std::ranges::find(requests_, request, &Request::id);
  if (it == requests_.begin()) return finish(error);
  Request late = std::move(*it);
  requests_.erase(it);
  if (late.on_keys) {
    late.on_keys(error);
  } else {
    late.on_signature(error);
  }
}

void KeyAgent::disconnect() {
  loop_.cancel(std::exchange(retry_, 0));
  if (watch_ != 0) loop_.unwatch(std::exchange(watch_, 0));
  if (socket_) loop_.close(socket_.release());
  written_ = 0;
  reply_.clear();
}

Error KeyAgent::unusable(std::string_view what) const {
  return Error(ErrorClass::kAuth, Phase::kAuth, cat("the key agent ", what),
               "see whether ssh-add -l works; without a key agent name a key file");
}

void KeyAgent::finish(Result<Buffer> reply) {
  disconnect();
  Request done = std::move(requests_.front());
  requests_.pop_front();
  loop_.cancel(done.deadline);
  if (!requests_.empty()) begin_soon();
  if (done.on_keys) {
    if (reply) {
      done.on_keys(decode_keys(*reply));
    } else {
      done.on_keys(reply.error());
    }
  } else if (reply) {
    done.on_signature(decode_signature(*reply, done.algorithm));
  } else {
    done.on_signature(reply.error());
  }
}

}  // namespace banyan::connector
