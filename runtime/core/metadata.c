#include <baton/metadata.h>

const baton_metadata_entry *baton_metadata_find(const baton_metadata *metadata, const char *key)
{
        for (size_t i = 0; metadata && key && i < metadata->n; i++)
                if (strcmp(metadata->entries[i].key, key) == 0)
                        return &metadata->entries[i];
        return NULL;
}

const char *baton_metadata_text(const baton_metadata *metadata, const char *key)
{
        const baton_metadata_entry *entry = baton_metadata_find(metadata, key);
        return entry ? entry->value : NULL;
}
