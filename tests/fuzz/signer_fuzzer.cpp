// Goal: whatever a hop asks our keys, each request is answered once, and without a key there is no signature.
// Method: an input is a byte of options, then requests, each with its visitor and a length in front; what
// looks like a signature is checked as one of a host's too.

#include <algorithm>

#include "core/assert.h"
#include "core/epoll_loop.h"
#include "transports/connector/host_signature.h"
#include "transports/connector/signer.h"
#include "transports/connector/wire.h"

using namespace banyan;
using namespace banyan::connector;

namespace {

struct Owner final : Signer::Owner {
  std::size_t answers = 0;
  void on_signed(SessionId, std::uint32_t, Bytes answer) override {
    ++answers;
    ASSERT(answer.empty() || answer[0] == 5 || answer[0] == 12);  // a refusal, or the empty list
  }
  void on_passphrase(SessionQuestion) override { ASSERT(false); }
  void on_refusal(SessionId, std::string_view why, Signer::Fault) override { ASSERT(!why.empty()); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static EpollLoop loop;
  static KeyRing ring(loop);
  Bytes rest(data, size);
  if (rest.empty()) return 0;
  SessionOrder order;
  order.task = rest[0] % 2 == 0 ? SessionOrder::Task::kSign : SessionOrder::Task::kSignTrustingly;
  order.settings.user = "ann";
  order.settings.key_name = "web";
  rest = rest.subspan(1);
  Owner owner;
  Signer signer(loop, ring, order, owner);
  std::size_t asked = 0;
  while (rest.size() >= 3) {
    const std::uint8_t visitor = rest[0];
    const std::size_t length = std::min<std::size_t>(std::size_t(rest[1]) << 8 | rest[2], rest.size() - 3);
    const Bytes request = rest.subspan(3, length);
    rest = rest.subspan(3 + length);
    signer.ask({.id = 0, .visitor = visitor, .bytes = Buffer(request.begin(), request.end())});
    ASSERT(owner.answers == ++asked);
    WireReader parts(request.subspan(std::min<std::size_t>(1, request.size())));
    const Bytes key = parts.string(), session = parts.string(), signature = parts.string();
    is_signed_by(key, session, signature);
  }
  return 0;
}
