#include "transports/connector/signer.h"

#include <algorithm>
#include <utility>

#include "core/text.h"
#include "transports/connector/host_signature.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

namespace banyan::connector {
namespace {

// Of the key agent's protocol, and of RFC 4252.
constexpr std::uint8_t kFailure = 5, kSuccess = 6, kListKeys = 11, kKeys = 12, kSign = 13, kSignature = 14,
                       kExtension = 27, kLoginRequest = 50;
constexpr std::string_view kBind = "session-bind@openssh.com";
constexpr std::string_view kByKey = "publickey", kByKeyAndHost = "publickey-hostbound-v00@openssh.com";
// Said twice, since an older ssh may mean no harm and somebody else beside a newer one does. Whoever reads
// the first need not be told the second, which is the beginning of it.
constexpr const char* kUnproved =
    "it asked without a proof of the host that it talks to (an ssh before OpenSSH 8.9 has none): --trust-hop "
    "would do without";
constexpr std::string_view kUnprovedExcess = "it asked without a proof of the host that it talks to";
constexpr std::size_t kWaitingMax = 32;  // requests; each visitor has one at a time

bool is_same(Bytes one, Bytes other) {
  return std::ranges::equal(one, other);
}

Buffer copy(Bytes bytes) {
  return Buffer(bytes.begin(), bytes.end());
}

}  // namespace

Signer::Signer(Loop& loop, KeyRing& ring, SessionOrder order, Owner& owner)
    : order_(std::move(order)),
      owner_(owner),
      identities_(
          loop, ring, order_.settings,
          [this, alive = alive_] {
            if (*alive) run();
          },
          [this](const std::string& file) {
            owner_.on_passphrase({.id = order_.id,
                                  .number = ++question_,
                                  .kind = SessionQuestion::Kind::kPassphrase,
                                  .file = file});
          }) {}

Signer::~Signer() {
  *alive_ = false;
}

void Signer::ask(KeyRequestMessage request) {
  if (waiting_.size() >= kWaitingMax) return reply(request.visitor, {});
  waiting_.push_back(std::move(request));
  run();
}

void Signer::answer(SessionAnswer answer) {
  if (answer.number != question_) return;
  if (answer.secrets.empty()) {
    identities_.give_up_passphrase();
    return run();
  }
  identities_.give_passphrase(std::move(answer.secrets.front()));
}

void Signer::run() {
  while (!waiting_.empty() && identities_.is_ready() && serve(waiting_.front())) waiting_.pop_front();
}

bool Signer::serve(const KeyRequestMessage& request) {
  const std::uint8_t kind = request.bytes.empty() ? std::uint8_t(0) : request.bytes.front();
  const Bytes rest = Bytes(request.bytes).subspan(std::min<std::size_t>(1, request.bytes.size()));
  switch (kind) {
    case kListKeys:
      list(request.visitor);
      return true;
    case kExtension:
      bind(request.visitor, rest);
      return true;
    case kSign:
      return sign(request.visitor, rest);
    default:
      reply(request.visitor, Buffer{kFailure});
      return true;
  }
}

// Which keys there are is not for everybody either.
const char* Signer::objection_to_visitor(std::uint32_t visitor) const {
  if (const auto found = disproved_.find(visitor); found != disproved_.end())
    return found->second.why.c_str();
  if (bound_.contains(visitor) || order_.task == SessionOrder::Task::kSignTrustingly) return nullptr;
  return kUnproved;
}

void Signer::list(std::uint32_t visitor) {
  if (const char* objection = objection_to_visitor(visitor)) return refuse(visitor, objection);
  const std::vector<Identities::Offered> offered = identities_.offered();
  if (offered.empty())
    owner_.on_refusal(order_.id,
                      identities_.complaints().empty()
                          ? std::string("there is no key for it, neither a file nor one of the key agent's")
                          : cat("there is no key for it: ", identities_.complaints()),
                      Fault::kOurs);
  Buffer answer{kKeys};
  put_number(answer, std::uint32_t(offered.size()));
  for (const Identities::Offered& key : offered) {
    put_string(answer, key.public_key);
    put_string(answer, std::string_view());  // what people call it is not the hop's business
  }
  reply(visitor, answer);
}

void Signer::refuse(std::uint32_t visitor, std::string_view why) {
  const auto found = disproved_.find(visitor);
  refuse(visitor, why, found == disproved_.end() ? Fault::kAskers : found->second.fault);
}

void Signer::refuse(std::uint32_t visitor, std::string_view why, Fault fault) {
  if (why == kUnproved) owner_.on_refusal(order_.id, kUnprovedExcess, std::exchange(fault, Fault::kOurs));
  owner_.on_refusal(order_.id, why, fault);
  reply(visitor, Buffer{kFailure});
}

// --- which host it is ---

void Signer::bind(std::uint32_t visitor, Bytes request) {
  if (WireReader in(request); in.text() != kBind) return reply(visitor, Buffer{kFailure});
  Fault fault = Fault::kAskers;
  if (const char* objection = objection_to_bind(visitor, request, fault)) {
    disproved_.try_emplace(visitor, Disproved{objection, fault});
    return refuse(visitor, objection, fault);
  }
  reply(visitor, Buffer{kSuccess});
}

const char* Signer::objection_to_bind(std::uint32_t visitor, Bytes request, Fault& fault) {
  WireReader in(request);
  in.string();  // the extension's name
  const Bytes host_key = in.string(), session = in.string(), signature = in.string();
  const bool is_forwarded = in.byte() != 0;
  if (!in.finish() || session.empty()) return "it asked for what is no session";
  if (is_forwarded) return "it wanted to pass our keys on to another machine";
  if (bound_.contains(visitor) || disproved_.contains(visitor))
    return "it claimed a second session on one connection";
  HostKeys known(order_.settings);
  if (const Result<Done> read = known.read(); !read) {
    objection_ = read.error().text;
    fault = Fault::kOurs;
    return objection_.c_str();
  }
  const Result<HostKeys::Answer> answer = known.check(host_key);
  if (!answer || *answer != HostKeys::Answer::kKnown) {
    objection_ = answer ? std::string("the host's key is not known") : answer.error().text;
    return objection_.c_str();
  }
  if (!is_signed_by(host_key, session, signature))
    return "the host it says it talks to did not sign its session";
  if (!session_.empty() && !is_same(session_, session))
    return "it wanted a second session than the one ordered";
  session_ = copy(session);
  bound_[visitor] = Bound{copy(session), copy(host_key)};
  return nullptr;
}

// --- signing ---

// Whether `data` is a request to log in as the one that was ordered, and nothing else.
const char* Signer::objection_to(std::uint32_t visitor, Bytes key, Bytes data, Login& login) {
  WireReader in(data);
  login.session = in.string();
  const bool is_login = in.byte() == kLoginRequest;
  const std::string_view user = in.text(), service = in.text(), method = in.text();
  const bool has_signature = in.byte() == 1;
  login.algorithm = in.text();
  login.key = in.string();
  if (method == kByKeyAndHost) login.host_key = in.string();
  if (!in.finish() || !is_login || service != "ssh-connection" || !has_signature || login.session.empty() ||
      (method != kByKey && method != kByKeyAndHost) || !is_same(login.key, key))
    return "it asked for a signature under something that is no login";
  if (user != order_.settings.user) return "it asked to log in as another user";
  if (const char* objection = objection_to_visitor(visitor)) return objection;
  const auto bound = bound_.find(visitor);
  if (bound == bound_.end())
    return session_.empty() || is_same(session_, login.session)
               ? nullptr
               : "it wanted a second session than the one ordered";
  if (!is_same(bound->second.session, login.session))
    return "it asked for a signature for another session than the one it proved";
  if (!login.host_key.empty() && !is_same(bound->second.host_key, login.host_key))
    return "it asked for a signature for another host than the one it proved";
  return nullptr;
}

bool Signer::sign(std::uint32_t visitor, Bytes request) {
  WireReader in(request);
  const Bytes key = in.string(), data = in.string();
  in.number();  // flags: the algorithm stands in what is signed
  Login login;
  if (!in.finish()) {
    refuse(visitor, "it asked for what is no signature");
    return true;
  }
  if (const char* objection = objection_to(visitor, key, data, login)) {
    refuse(visitor, objection);
    return true;
  }
  const bool has_signed =
      std::ranges::any_of(used_, [&](const Buffer& other) { return is_same(other, key); });
  if (has_signed) {
    refuse(visitor, "it asked for a second signature with one key");
    return true;
  }
  if (!identities_.choose(key, login.algorithm)) {
    const std::vector<Identities::Offered> offered = identities_.offered();
    const bool is_ours = std::ranges::any_of(
        offered, [&](const Identities::Offered& ours) { return is_same(ours.public_key, key); });
    if (is_ours)
      refuse(visitor, cat("our key makes no signature of ", login.algorithm.substr(0, 64)), Fault::kOurs);
    else
      refuse(visitor, "it asked for a signature of a key that is none of ours");
    return true;
  }
  Buffer signature;
  switch (identities_.sign(data, signature)) {
    case Identities::Status::kWait:
      return false;
    case Identities::Status::kFailed:
      used_.push_back(copy(key));  // a person is asked once
      refuse(visitor, identities_.complaints(), Fault::kOurs);
      return true;
    case Identities::Status::kDone:
      break;
  }
  used_.push_back(copy(key));
  session_ = copy(login.session);
  Buffer whole, answer{kSignature};
  put_string(whole, login.algorithm);
  put_string(whole, signature);
  put_string(answer, whole);
  reply(visitor, answer);
  return true;
}

}  // namespace banyan::connector
