/* The connection: one C object is the asyncio protocol of one WebSocket.
 *
 * This header gives its fields, each in the room of the unit that changes it; CONTRIBUTING.md says
 * what each unit knows. Any call into Python may end the connection: units look at `transport` and
 * `phase` again after one. */
#ifndef ATALANTA_EXT_PROTOCOL_H
#define ATALANTA_EXT_PROTOCOL_H

#include "module.h"

#include "../core/conn.h"
#include "assembly.h"
#include "byte_buffer.h"
#include "connection_limits.h"
#include "lent_buffer.h"
#include "loop_state.h"
#include "message_queue.h"
#include "object_list.h"
#include "poller.h"
#include "timer_queue.h"
#include "waiter.h"

/* Where the application stands in ASGI's WebSocket protocol. */
typedef enum {
    PHASE_REQUEST,    /* no complete upgrade request yet */
    PHASE_CONNECTING, /* the application runs and has not answered */
    PHASE_DENYING,    /* websocket.http.response.start was sent, its body is not complete */
    PHASE_OPEN,       /* accepted, and no end yet */
    PHASE_CLOSED      /* over for the application: see `ended_by` */
} session_phase;

typedef enum {
    ENDED_BY_NOBODY,
    ENDED_BY_APPLICATION, /* it closed, refused or denied: a further send() is its mistake */
    ENDED_BY_PEER /* the peer, the network or the server: send() raises ClientDisconnected */
} session_end_cause;

typedef struct {
    byte_buffer gathered; /* not written yet */
    int descriptor;       /* of the socket while direct writes are sound, or -1 */
    bool paused;          /* the transport asked us to stop: pause_writing */
    size_t replies;       /* bytes of pongs that were added while paused */
    bool may_hold;        /* the transport may hold unsent bytes: ask it before writing past it */
    bool last;            /* the transport is closed as soon as this is written */
    bool listed;          /* with the Turn, to be flushed at the end of this turn */
} output_buffer;

typedef struct broadcast_queue broadcast_queue;
typedef struct compression compression;

/* What is offered to clients that ask for permessage-deflate. */
typedef struct {
    size_t threshold; /* bytes */
    bool enabled;
    bool server_no_context_takeover;
    bool client_no_context_takeover;
    uint8_t server_window_bits;
    uint8_t client_window_bits;
    uint8_t level;
    uint8_t memory_level;
} compression_settings;

typedef struct protocol_object {
    PyObject_HEAD
    module_state *state; /* borrowed: the type keeps the module alive */

    /* Construction */
    PyObject *loop;
    LoopState *per_loop;
    PyObject *root_path;
    PyObject *app_state;
    PyObject *default_headers;
    double ping_interval; /* seconds; 0 for none */
    double ping_timeout;  /* seconds; 0 for none */
    double close_timeout; /* seconds */
    compression_settings compression_settings;
    connection_limits limits;

    /* counters.c */
    struct protocol_object *previous, *next; /* borrowed: on the module's list of connections */
    counters *counted_by;                    /* owned; NULL unless it is on the list */

    /* protocol.c */
    PyObject *transport; /* NULL before connection_made and after connection_lost */
    bool handed_over;    /* the transport calls us itself, not the HTTP protocol that made us */
    bool in_read_callback;
    bool closing;        /* we have told the transport to close */
    bool reading_paused; /* by us */
    lent_buffer lent;    /* what get_buffer gave out */

    /* poller.c */
    reading_side reading;
    int polled; /* the descriptor that is watched, or -1 */

    /* incoming.c */
    ws_conn conn;
    byte_buffer kept;   /* not consumed yet: part of a request, frame header or control frame */
    size_t held_at;     /* with frames_held: where in `kept` they begin */
    bool frames_held;   /* whole frames wait in `kept` until the application has room for more */
    assembly message;   /* the message whose pieces are coming in */
    size_t fragments;   /* complete ones of that message, but for the last */
    int failure;        /* ws_error or FAILURE_FRAGMENTS to act on when parsing is done, or 0 */
    bool request_begun; /* the subclass knows that an incomplete request is there */
    bool close_arrived; /* the peer's close frame was read and not acted on */
    bool pong_arrived;  /* the pong for our ping was read and not acted on */
    bool frame_arrived; /* since the last ping: any other complete frame, or part of a message */
    uint16_t peer_code;
    PyObject *peer_reason;

    /* session.c */
    session_phase phase;
    PyObject *accept_key; /* bytes: Sec-WebSocket-Accept */
    PyObject *scope;      /* until the handshake is answered, for the log line */
    bool connect_delivered;
    bool opened; /* the 101 was sent: bytes are frames now */
    long denial_status;
    PyObject *denial_headers; /* of websocket.http.response.start, until its head is written */
    bool denial_begun;        /* the denial's head is written */
    bool denial_chunked;
    message_queue queue;
    unsigned int taken;       /* messages taken since the application last waited */
    Waiter *receive_waiter;   /* of the one reader that waits */
    object_list send_waiters; /* of send() calls that wait for room */

    /* closing.c */
    session_end_cause ended_by;
    uint16_t end_code;
    bool application_done;
    PyObject *end_reason;

    /* writer.c */
    output_buffer output;

    /* compression.c */
    compression *compression; /* NULL unless it was negotiated */

    /* broadcast.c */
    broadcast_queue *broadcast; /* NULL unless the connection takes part */

    /* timers.c */
    timer_node keepalive_timer;
    timer_node close_timer;
    double ping_sent_at; /* clock_seconds() */
    uint8_t ping_payload[4];
    bool ping_pending;
    bool ping_overdue; /* its time is up, and what may have arrived is being read */
} Protocol;

extern PyType_Spec protocol_spec;

/* Where the next bytes from the socket go. NULL with MemoryError. */
uint8_t *protocol_receive_space(Protocol *self, size_t *size);

/* Acts on n bytes that were received there. 0, or -1. */
int protocol_received(Protocol *self, uint8_t *place, size_t n);

/* Resumes the task in receive() if there is something for it: at once from a read callback where
 * that is sound, else in a later turn of the loop. 0, or -1. */
int protocol_notify(Protocol *self);

/* Has the waiter woken by the next event; a connection has one reader. 0, or -1 with RuntimeError.
 */
int protocol_add_reader(Protocol *self, Waiter *waiter);

/* No-op for a waiter that is not the reader's. */
void protocol_remove_reader(Protocol *self, const Waiter *waiter);

/* Lets every send() that waits for room look again, in a later turn of the loop. 0, or -1. */
int protocol_wake_senders(Protocol *self);

/* Takes the waiter of a send() that was cancelled off the list. */
void protocol_forget_sender(Protocol *self, const Waiter *waiter);

/* transport.<method>(), with an argument unless that is NULL; or None when there is no transport.
 * New reference, or NULL. The transport lives until the answer is there, even where asking it ends
 * the connection. */
PyObject *protocol_ask_transport(const Protocol *self, PyObject *method, PyObject *argument);

/* transport.<method>(), harmless when there is no transport. 0, or -1. */
int protocol_call_transport(Protocol *self, PyObject *method);

/* transport.close(), once: asyncio's TLS transport forgets its connection at a second call, and an
 * abort() after that does nothing. Harmless when there is no transport. 0, or -1. */
int protocol_close_transport(Protocol *self);

/* transport.abort(): drops what the peer does not take. 0, or -1. */
int protocol_abort_transport(Protocol *self);

/* Pauses or resumes reading; no-op when it is so already. 0, or -1. */
int protocol_pause_reading(Protocol *self);
int protocol_resume_reading(Protocol *self);

#endif
