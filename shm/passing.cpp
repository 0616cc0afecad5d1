#include "shm/passing.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

namespace banyan::shm {
namespace {

constexpr std::size_t kDescriptors = 2;
constexpr std::size_t kDescriptorsMax = 16;  // taken in, so that those too many can be closed

Result<Done> wait_readable(int socket, Deadline deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd ready{socket, POLLIN, 0};
    const int found = ::poll(&ready, 1, int(std::clamp<std::int64_t>(left, 0, 1000)));
    if (found > 0) return Done{};
    if (found < 0 && errno != EINTR) return system_error("poll", errno);
    if (Clock::now() >= deadline) return Error{ErrorKind::kTimeout, "no segment was passed in time"};
  }
}

Result<Done> check_peer(int socket, uid_t also) {
  struct ucred peer {};
  socklen_t length = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
    return system_error("SO_PEERCRED", errno);
  if (peer.uid == ::geteuid() || peer.uid == 0 || peer.uid == also) return Done{};
  return Error{ErrorKind::kUnsafe, "the other end is a process of user " + std::to_string(peer.uid)};
}

}  // namespace

// A length of four bytes, most significant first, which the descriptors come with; then the token as a
// message.
Result<Done> pass(int socket, const Token& token, const Segment& segment) {
  Result<Descriptors> shared = segment.share();
  if (!shared) return shared.error();
  std::vector<std::uint8_t> bytes = token.to_message();
  const std::size_t size = bytes.size();
  bytes.insert(bytes.begin(), {std::uint8_t(size >> 24), std::uint8_t(size >> 16), std::uint8_t(size >> 8),
                               std::uint8_t(size)});

  const int numbers[kDescriptors] = {shared->rows.get(), shared->page.get()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof numbers)] = {};
  for (std::size_t sent = 0; sent < bytes.size();) {
    iovec part{bytes.data() + sent, bytes.size() - sent};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (sent == 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof numbers);
      std::memcpy(CMSG_DATA(rights), numbers, sizeof numbers);
    }
    const ssize_t count = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error("sendmsg", errno);
    sent += std::size_t(count);
  }
  return Done{};
}

Result<Passed> receive(int socket, Deadline deadline, uid_t also) {
  if (Result<Done> trusted = check_peer(socket, also); !trusted) return trusted.error();
  std::vector<std::uint8_t> bytes(4);
  std::vector<Fd> received;
  for (std::size_t taken = 0; taken < bytes.size();) {
    if (Result<Done> ready = wait_readable(socket, deadline); !ready) return ready.error();
    iovec part{bytes.data() + taken, bytes.size() - taken};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kDescriptorsMax)];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t count = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return system_error("recvmsg", errno);
    for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(&message, each)) {
      if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
      for (std::size_t at = 0; at + sizeof(int) <= each->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(each) + at, sizeof number);
        received.emplace_back(number);
      }
    }
    if (count == 0) return Error{ErrorKind::kGone, "the other end closed before a whole segment was passed"};
    if (received.size() > kDescriptors)
      return Error{ErrorKind::kBadToken, "more descriptors than a segment has"};
    taken += std::size_t(count);
    if (taken == 4 && bytes.size() == 4) {
      const std::size_t size =
          std::size_t(bytes[0]) << 24 | std::size_t(bytes[1]) << 16 | std::size_t(bytes[2]) << 8 | bytes[3];
      if (size == 0 || size > kTokenBytesMax)
        return Error{ErrorKind::kBadToken, "a token of an impossible length"};
      bytes.resize(4 + size);
    }
  }
  Result<Token> token = Token::from_message(std::span(bytes).subspan(4));
  if (!token) return token.error();
  if (received.size() != kDescriptors) return Error{ErrorKind::kBadToken, "a token without its descriptors"};
  return Passed{std::move(*token), {std::move(received[0]), std::move(received[1])}};
}

}  // namespace banyan::shm
