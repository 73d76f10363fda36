#include "timed_engine.h"

const tm_engine tm_wheel = {
    make, free_run, advance, frames_done, now, links, waiting, rows_waiting,
};
