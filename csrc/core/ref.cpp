#include "core/ref.h"

#include <vector>

namespace fastnn {

void end_in_turn(void* object, void (*end)(void*)) {
  struct Ending {
    void* object;
    void (*end)(void*);
  };
  struct Queue {
    std::vector<Ending> waiting;
    bool busy = false;
  };
  thread_local Queue queue;
  if (queue.busy) {
    queue.waiting.push_back({object, end});
    return;
  }
  queue.busy = true;
  end(object);
  while (!queue.waiting.empty()) {
    const Ending next = queue.waiting.back();
    queue.waiting.pop_back();
    next.end(next.object);
  }
  queue.busy = false;
}

}  // namespace fastnn
