#include "walkers.h"
#include "kinds2.pb-c.h"
#include "kinds3.pb-c.h"

static const baton_type empty_type = { .descriptor = &kinds3__empty__descriptor };

static int point_encode(baton_graph_writer *w, const ProtobufCMessage *base)
{
        const Kinds3__Point *m = (const Kinds3__Point *)base;
        Kinds3__Point *image = baton_graph_put_image(w, sizeof *m);
        if (!image)
                return -EMSGSIZE;
        image->x = m->x;
        image->y = m->y;
        image->id = m->id;
        return 0;
}

static int point_decode(baton_graph_reader *r, ProtobufCMessage *base)
{
        return baton_graph_get_image(r, base, sizeof(Kinds3__Point), &kinds3__point__descriptor);
}

const baton_type walkers_point = { &kinds3__point__descriptor, point_encode, point_decode };

static int leaf_encode_choice(baton_graph_writer *w, Kinds3__Leaf *image, const Kinds3__Leaf *m)
{
        image->choice_case = m->choice_case;
        switch (m->choice_case) {
        case KINDS3__LEAF__CHOICE__NOT_SET:
                return 0;
        case KINDS3__LEAF__CHOICE_NUMBER:
                image->number = m->number;
                return 0;
        case KINDS3__LEAF__CHOICE_TEXT:
                return m->text ? baton_graph_put_string(w, &image->text, m->text, NULL) : -ENODATA;
        case KINDS3__LEAF__CHOICE_POINT:
                return m->point ? baton_graph_put_message(w, &image->point, &walkers_point, &m->point->base) : -ENODATA;
        case KINDS3__LEAF__CHOICE_RAW:
                return baton_graph_put_bytes(w, &image->raw, &m->raw, NULL);
        case KINDS3__LEAF__CHOICE_NOTHING:
                return m->nothing ? baton_graph_put_message(w, &image->nothing, &empty_type, &m->nothing->base)
                                  : -ENODATA;
        default:
                return -ENODATA;
        }
}

static int leaf_encode_note(baton_graph_writer *w, Kinds3__Leaf *image, const Kinds3__Leaf *m)
{
        image->_note_case = m->_note_case;
        switch (m->_note_case) {
        case KINDS3__LEAF___NOTE__NOT_SET:
                return 0;
        case KINDS3__LEAF___NOTE_NOTE:
                return m->note ? baton_graph_put_string(w, &image->note, m->note, NULL) : -ENODATA;
        default:
                return -ENODATA;
        }
}

static int leaf_encode(baton_graph_writer *w, const ProtobufCMessage *base)
{
        const Kinds3__Leaf *m = (const Kinds3__Leaf *)base;
        Kinds3__Leaf *image = baton_graph_put_image(w, sizeof *m);
        if (!image)
                return -EMSGSIZE;
        image->color = m->color;
        image->n_points = m->n_points;
        int r = baton_graph_put_messages(w, &image->points, &walkers_point, (ProtobufCMessage *const *)m->points,
                                         m->n_points);
        if (r < 0)
                return r;
        r = baton_graph_put_bytes(w, &image->blob, &m->blob, NULL);
        if (r < 0)
                return r;
        r = baton_graph_put_string(w, &image->name, m->name, protobuf_c_empty_string);
        if (r < 0)
                return r;
        /* The members of `choice` have the numbers 6 to 10, that of `note` has 5. */
        r = leaf_encode_note(w, image, m);
        return r < 0 ? r : leaf_encode_choice(w, image, m);
}

static int leaf_decode_choice(baton_graph_reader *r, Kinds3__Leaf *m)
{
        int result;
        switch (m->choice_case) {
        case KINDS3__LEAF__CHOICE__NOT_SET:
                memset(&m->raw, 0, sizeof m->raw);
                return 0;
        case KINDS3__LEAF__CHOICE_NUMBER:
                return 0;
        case KINDS3__LEAF__CHOICE_TEXT:
                result = baton_graph_get_string(r, &m->text, NULL);
                return result == 0 && !m->text ? -ENODATA : result;
        case KINDS3__LEAF__CHOICE_POINT:
                result = baton_graph_get_message(r, &m->point, &walkers_point);
                return result == 0 && !m->point ? -ENODATA : result;
        case KINDS3__LEAF__CHOICE_RAW:
                return baton_graph_get_bytes(r, &m->raw, NULL);
        case KINDS3__LEAF__CHOICE_NOTHING:
                result = baton_graph_get_message(r, &m->nothing, &empty_type);
                return result == 0 && !m->nothing ? -ENODATA : result;
        default:
                return -EBADMSG;
        }
}

static int leaf_decode_note(baton_graph_reader *r, Kinds3__Leaf *m)
{
        if (m->_note_case == KINDS3__LEAF___NOTE__NOT_SET) {
                m->note = NULL;
                return 0;
        }
        if (m->_note_case != KINDS3__LEAF___NOTE_NOTE)
                return -EBADMSG;
        int result = baton_graph_get_string(r, &m->note, NULL);
        return result == 0 && !m->note ? -ENODATA : result;
}

static int leaf_decode(baton_graph_reader *r, ProtobufCMessage *base)
{
        Kinds3__Leaf *m = (Kinds3__Leaf *)base;
        int result = baton_graph_get_image(r, base, sizeof *m, &kinds3__leaf__descriptor);
        if (result == 0)
                result = baton_graph_get_messages(r, &m->points, &walkers_point, m->n_points);
        if (result == 0)
                result = baton_graph_get_bytes(r, &m->blob, NULL);
        if (result == 0)
                result = baton_graph_get_string(r, &m->name, protobuf_c_empty_string);
        if (result == 0)
                result = leaf_decode_note(r, m);
        return result < 0 ? result : leaf_decode_choice(r, m);
}

const baton_type walkers_leaf = { &kinds3__leaf__descriptor, leaf_encode, leaf_decode };

static int chain_encode(baton_graph_writer *w, const ProtobufCMessage *base)
{
        const Kinds3__Chain *m = (const Kinds3__Chain *)base;
        Kinds3__Chain *image = baton_graph_put_image(w, sizeof *m);
        if (!image)
                return -EMSGSIZE;
        int r = baton_graph_put_message(w, &image->next, &walkers_chain, (const ProtobufCMessage *)m->next);
        if (r < 0)
                return r;
        r = baton_graph_put_string(w, &image->name, m->name, protobuf_c_empty_string);
        if (r < 0)
                return r;
        image->n_many = m->n_many;
        return baton_graph_put_messages(w, &image->many, &walkers_chain, (ProtobufCMessage *const *)m->many, m->n_many);
}

static int chain_decode(baton_graph_reader *r, ProtobufCMessage *base)
{
        Kinds3__Chain *m = (Kinds3__Chain *)base;
        int result = baton_graph_get_image(r, base, sizeof *m, &kinds3__chain__descriptor);
        if (result == 0)
                result = baton_graph_get_message(r, &m->next, &walkers_chain);
        if (result == 0)
                result = baton_graph_get_string(r, &m->name, protobuf_c_empty_string);
        return result < 0 ? result : baton_graph_get_messages(r, &m->many, &walkers_chain, m->n_many);
}

const baton_type walkers_chain = { &kinds3__chain__descriptor, chain_encode, chain_decode };

/* The defaults of proto2 bytes are private to the .pb-c.c, but the descriptor knows them. */
static const ProtobufCBinaryData *blob_default(void)
{
        return kinds2__needed__descriptor.fields[5].default_value;
}

static int needed_encode(baton_graph_writer *w, const ProtobufCMessage *base)
{
        const Kinds2__Needed *m = (const Kinds2__Needed *)base;
        Kinds2__Needed *image = baton_graph_put_image(w, sizeof *m);
        if (!image)
                return -EMSGSIZE;
        image->number = m->number;
        int r = m->text ? baton_graph_put_string(w, &image->text, m->text, NULL) : -ENODATA;
        if (r < 0)
                return r;
        r = baton_graph_put_bytes(w, &image->blob, &m->blob, NULL);
        if (r < 0)
                return r;
        image->size = m->size;
        r = m->text_default ? baton_graph_put_string(w, &image->text_default, m->text_default,
                                                     kinds2__needed__text_default__default_value)
                            : -ENODATA;
        if (r < 0)
                return r;
        r = baton_graph_put_bytes(w, &image->blob_default, &m->blob_default, blob_default());
        if (r < 0)
                return r;
        image->flag = m->flag;
        return baton_graph_put_message(w, &image->next, &walkers_needed, (const ProtobufCMessage *)m->next);
}

static int needed_decode(baton_graph_reader *r, ProtobufCMessage *base)
{
        Kinds2__Needed *m = (Kinds2__Needed *)base;
        int result = baton_graph_get_image(r, base, sizeof *m, &kinds2__needed__descriptor);
        if (result == 0)
                result = baton_graph_get_string(r, &m->text, NULL);
        if (result == 0 && !m->text)
                return -ENODATA;
        if (result == 0)
                result = baton_graph_get_bytes(r, &m->blob, NULL);
        if (result == 0)
                result = baton_graph_get_string(r, &m->text_default, kinds2__needed__text_default__default_value);
        if (result == 0)
                result = baton_graph_get_bytes(r, &m->blob_default, blob_default());
        return result < 0 ? result : baton_graph_get_message(r, &m->next, &walkers_needed);
}

const baton_type walkers_needed = { &kinds2__needed__descriptor, needed_encode, needed_decode };
