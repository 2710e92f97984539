# Made by `python build.py --client` from protos/: do not edit.
"""Methods that only fill the request of their operation. The comments are those of the protos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kms_grpc.client.arguments import tags_of
from kms_grpc.client.service_client import ServiceClient
from kms_grpc.v1 import envelope_pb2, key_management_pb2


class PlainMethods(ServiceClient):
    """Operations whose arguments are the fields of their requests. A required argument is positional."""

    def describe_key(
        self, key_id: str, *, grant_tokens: Sequence[str] | None = None
    ) -> key_management_pb2.DescribeKeyResponse:
        """Describes a key, in any state. The key may be named by its alias.

        key_id: Id, ARN, alias name or alias ARN of the key, 1 to 2,048 characters.
        grant_tokens: Grant tokens, at most 10 of 1 to 8,192 characters.
        """
        request = key_management_pb2.DescribeKeyRequest(key_id=key_id, grant_tokens=grant_tokens)
        return self._call(self._keys.DescribeKey, request)

    def enable_key(self, key_id: str) -> key_management_pb2.EnableKeyResponse:
        """Enables a disabled key. An enabled key stays as it is. Every worker obeys as soon as the call is answered.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        """
        request = key_management_pb2.EnableKeyRequest(key_id=key_id)
        return self._call(self._keys.EnableKey, request)

    def disable_key(self, key_id: str) -> key_management_pb2.DisableKeyResponse:
        """Disables a key: it has no cryptographic use until it is enabled. Every worker obeys as soon as the call is
        answered.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        """
        request = key_management_pb2.DisableKeyRequest(key_id=key_id)
        return self._call(self._keys.DisableKey, request)

    def update_key_description(self, key_id: str, description: str) -> key_management_pb2.UpdateKeyDescriptionResponse:
        """Replaces a key's description.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        description: The new description, 0 to 8,192 characters.
        """
        request = key_management_pb2.UpdateKeyDescriptionRequest(key_id=key_id, description=description)
        return self._call(self._keys.UpdateKeyDescription, request)

    def cancel_key_deletion(self, key_id: str) -> key_management_pb2.CancelKeyDeletionResponse:
        """Cancels a scheduled deletion. The key is Disabled after it; an external key without its material is
        PendingImport. The call is not retried.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        """
        request = key_management_pb2.CancelKeyDeletionRequest(key_id=key_id)
        return self._call(self._keys.CancelKeyDeletion, request)

    def tag_resource(self, key_id: str, tags: Mapping[str, str]) -> key_management_pb2.TagResourceResponse:
        """Adds tags to a key, or gives existing tags new values. Customer managed keys only.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        tags: The tags. A key has at most 50: TagException beyond, and for a tag key that is given twice or begins with
            "aws:"; ValidationException beyond 200 in one request. An empty list changes nothing.
        """
        request = key_management_pb2.TagResourceRequest(key_id=key_id, tags=tags_of(tags))
        return self._call(self._keys.TagResource, request)

    def untag_resource(self, key_id: str, tag_keys: Sequence[str]) -> key_management_pb2.UntagResourceResponse:
        """Removes tags of a key. Removing a tag that is not there succeeds.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        tag_keys: Keys of the tags, at most 200 of 1 to 128 characters. TagException for one that begins with "aws:". An
            empty list changes nothing.
        """
        request = key_management_pb2.UntagResourceRequest(key_id=key_id, tag_keys=tag_keys)
        return self._call(self._keys.UntagResource, request)

    def get_key_policy(self, key_id: str, *, policy_name: str | None = None) -> key_management_pb2.GetKeyPolicyResponse:
        """Returns the key policy of a key, in any state, as it was given. A key that was created without one has the
        default key policy, which leaves permissions to the account.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        policy_name: Name of the policy, 1 to 128 characters: `default`, which is the only one. Default: default.
        """
        request = key_management_pb2.GetKeyPolicyRequest(key_id=key_id, policy_name=policy_name)
        return self._call(self._keys.GetKeyPolicy, request)

    def put_key_policy(
        self,
        key_id: str,
        policy: str,
        *,
        policy_name: str | None = None,
        bypass_policy_lockout_safety_check: bool = False,
    ) -> key_management_pb2.PutKeyPolicyResponse:
        """Replaces the key policy of a key, in any state. Every worker obeys as soon as the call is answered. AWS
        managed keys keep theirs.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        policy: The key policy, a JSON document of 1 to 131,072 characters (tab, line ends, U+0020 to U+00FF), at most
            32 KiB in UTF-8 (LimitExceededException beyond).
        policy_name: Name of the policy, 1 to 128 characters: `default`, which is the only one. Default: default.
        bypass_policy_lockout_safety_check: True accepts a policy that locks its author out: one that does not let the
            caller change it again. Default: false.
        """
        request = key_management_pb2.PutKeyPolicyRequest(
            key_id=key_id,
            policy=policy,
            policy_name=policy_name,
            bypass_policy_lockout_safety_check=bypass_policy_lockout_safety_check,
        )
        return self._call(self._keys.PutKeyPolicy, request)

    def list_key_policies(
        self, key_id: str, *, limit: int | None = None, marker: str | None = None
    ) -> key_management_pb2.ListKeyPoliciesResponse:
        """Lists the names of a key's policies, in any state: every key has one, `default`.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        limit: Most entries of a page, 1 to 1,000. Default: 100.
        marker: NextMarker of the page before, 1 to 1,024 characters. There is one page only, so every marker is refused
            with ValidationException.
        """
        request = key_management_pb2.ListKeyPoliciesRequest(key_id=key_id, limit=limit, marker=marker)
        return self._call(self._keys.ListKeyPolicies, request)

    def list_resource_tags(
        self, key_id: str, *, limit: int | None = None, marker: str | None = None
    ) -> key_management_pb2.ListResourceTagsResponse:
        """Lists the tags of a key, in any state.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        limit: Most entries of a page, 1 to 50. Default: 50.
        marker: NextMarker of the page before, 1 to 1,024 characters, unchanged. InvalidMarkerException if it is another
            listing's or region's.
        """
        request = key_management_pb2.ListResourceTagsRequest(key_id=key_id, limit=limit, marker=marker)
        return self._call(self._keys.ListResourceTags, request)

    def disable_key_rotation(self, key_id: str) -> key_management_pb2.DisableKeyRotationResponse:
        """Turns automatic rotation off.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        """
        request = key_management_pb2.DisableKeyRotationRequest(key_id=key_id)
        return self._call(self._keys.DisableKeyRotation, request)

    def get_key_rotation_status(self, key_id: str) -> key_management_pb2.GetKeyRotationStatusResponse:
        """Returns whether a key is rotated automatically, how often, and when next.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        """
        request = key_management_pb2.GetKeyRotationStatusRequest(key_id=key_id)
        return self._call(self._keys.GetKeyRotationStatus, request)

    def rotate_key_on_demand(self, key_id: str) -> key_management_pb2.RotateKeyOnDemandResponse:
        """Rotates a key now, at most 25 times in its life; the automatic schedule stays as it is. An external key takes
        the material that was imported for it. Every worker encrypts under the new material as soon as the call is
        answered. The call is not retried.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        """
        request = key_management_pb2.RotateKeyOnDemandRequest(key_id=key_id)
        return self._call(self._keys.RotateKeyOnDemand, request)

    def delete_imported_key_material(
        self, key_id: str, *, key_material_id: str | None = None
    ) -> key_management_pb2.DeleteImportedKeyMaterialResponse:
        """Deletes imported key material at once: the key can't be used until the same bytes are imported again. A key
        that is PendingImport stays as it is. Keys of origin EXTERNAL only.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        key_material_id: Id of the key material, 64 lower-case hex digits, of the characters a-f 0-9. Default: the
            current one.
        """
        request = key_management_pb2.DeleteImportedKeyMaterialRequest(key_id=key_id, key_material_id=key_material_id)
        return self._call(self._keys.DeleteImportedKeyMaterial, request)

    def delete_alias(self, alias_name: str) -> key_management_pb2.DeleteAliasResponse:
        """Deletes an alias. Its key stays as it is. The call is not retried.

        alias_name: Name of the alias with its prefix "alias/", 1 to 256 of the characters A-Z a-z 0-9 / _ - and colon.
        """
        request = key_management_pb2.DeleteAliasRequest(alias_name=alias_name)
        return self._call(self._keys.DeleteAlias, request)

    def list_retirable_grants(
        self,
        *,
        retiring_principal: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
        retiring_service_principal: str | None = None,
    ) -> key_management_pb2.ListRetirableGrantsResponse:
        """Lists the grants in the called region that a principal of the caller's account may retire, whatever account
        their keys belong to.

        retiring_principal: ARN of a principal of the caller's account, 1 to 256 characters, spelled as in CreateGrant.
            Not together with RetiringServicePrincipal.
        limit: Most entries of a page, 1 to 100. Default: 50.
        marker: NextMarker of the page before, 1 to 1,024 characters, unchanged. InvalidMarkerException if it is another
            listing's or region's.
        retiring_service_principal: A service, 1 to 128 characters, that may retire grants; those on keys of the
            caller's account are listed. Not together with RetiringPrincipal.
        """
        request = key_management_pb2.ListRetirableGrantsRequest(
            retiring_principal=retiring_principal,
            limit=limit,
            marker=marker,
            retiring_service_principal=retiring_service_principal,
        )
        return self._call(self._keys.ListRetirableGrants, request)

    def retire_grant(
        self,
        *,
        key_id: str | None = None,
        grant_id: str | None = None,
        grant_token: str | None = None,
        dry_run: bool = False,
    ) -> key_management_pb2.RetireGrantResponse:
        """Ends a grant, in any state of its key. The grant says who may do so: its retiring principal, its grantee
        where RetireGrant is among its operations, and the account that created it. Every worker obeys as soon as the
        call is answered. The call is not retried.

        key_id: ARN of the grant's key, 1 to 2,048 characters.
        grant_id: Id of the grant, 1 to 128 characters. InvalidGrantIdException if no grant can have it.
        grant_token: A token of the grant, 1 to 8,192 characters. Not together with KeyId and GrantId.
        dry_run: Check everything and do nothing: DryRunOperationException if the call would have succeeded.
        """
        request = key_management_pb2.RetireGrantRequest(
            key_id=key_id, grant_id=grant_id, grant_token=grant_token, dry_run=dry_run
        )
        return self._call(self._keys.RetireGrant, request)

    def revoke_grant(
        self, key_id: str, grant_id: str, *, dry_run: bool = False
    ) -> key_management_pb2.RevokeGrantResponse:
        """Ends a grant, in any state of its key. Every worker obeys as soon as the call is answered. The call is not
        retried.

        key_id: Id or ARN of the key, 1 to 2,048 characters.
        grant_id: Id of the grant, 1 to 128 characters. InvalidGrantIdException if no grant can have it.
        dry_run: Check everything and do nothing: DryRunOperationException if the call would have succeeded.
        """
        request = key_management_pb2.RevokeGrantRequest(key_id=key_id, grant_id=grant_id, dry_run=dry_run)
        return self._call(self._keys.RevokeGrant, request)

    def get_limits(self) -> envelope_pb2.GetLimitsResponse:
        """Returns the limits of this server, so that a client can size its requests before it sends them."""
        request = envelope_pb2.GetLimitsRequest()
        return self._call(self._envelopes.GetLimits, request)
