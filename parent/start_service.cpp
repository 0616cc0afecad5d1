#include "parent/start_service.h"

#include <utility>

#include "core/text.h"

namespace banyan {

StartService::StartService(Router& router, Runner& runner) : router_(router), runner_(runner) {
  router_.add_handler(kStartChild, Access::ancestors(), [this](Incoming& request) { on_start(request); });
  router_.add_handler(kEndChild, Access::ancestors(), [this](Incoming& request) { on_end(request); });
}

StartService::~StartService() {
  *alive_ = false;
  router_.remove_handler(kStartChild);
  router_.remove_handler(kEndChild);
}

void StartService::on_start(Incoming& request) {
  const Header& call = request.header;
  if (call.stream != kCallStream || call.reply_to == kNoReply) return;  // nobody would know of the child
  if (closed_) return router_.reply_dead(call, DeadReason::kEnding, "this context is shutting down");
  if (runner_.count() >= kChildrenMax)
    return router_.reply_dead(call, DeadReason::kBusy, cat(kChildrenMax, " children are here already"));
  Result<StartRequest> decoded = StartRequest::decode(request.payload, runner_.transports());
  if (!decoded) return router_.reply_dead(call, DeadReason::kRefused, decoded.error().text);
  const Runner::StartId start = runner_.start(
      std::move(decoded->recipe),
      [this, alive = alive_, call](const Result<Child>& child) {
        if (*alive) router_.reply(call, StartReply::encode(child));
      },
      // On the stream of the reply, so behind it.
      [this, alive = alive_, asker = call.source, lost = decoded->lost](ContextId, const Error& why) {
        if (*alive) router_.send(asker, lost, LossNotice::encode(why), kReplyStream);
      });
  router_.on_cancel(call, [this, alive = alive_, start] {
    if (*alive) runner_.cancel(start);
  });
}

void StartService::on_end(Incoming& request) {
  const Header& call = request.header;
  const Result<EndRequest> decoded = EndRequest::decode(request.payload);
  if (!decoded) return router_.reply_dead(call, DeadReason::kRefused, decoded.error().text);
  runner_.shut_down(decoded->child, decoded->within, [this, alive = alive_, call] {
    if (*alive) router_.reply(call, {});
  });
}

}  // namespace banyan
