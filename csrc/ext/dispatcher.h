/* Dispatcher: the loop of one consumer: takes its events and runs a handler for each, one after
 * the other. */
#ifndef ATALANTA_EXT_DISPATCHER_H
#define ATALANTA_EXT_DISPATCHER_H

#include "module.h"

extern PyType_Spec dispatcher_spec;

#endif
